"""Processes that work for another one."""

import os
import signal
import subprocess
import sys
import time

PARENT = """
import multiprocessing
import sys
import time
from bench.execution.workers import exit_with_parent

def work():
    exit_with_parent()
    print(multiprocessing.current_process().pid, flush=True)
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work).start()
    time.sleep(600)
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    """They would go on writing into a folder that somebody begins anew."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, signal.SIGINT)
        time.sleep(0.2)
        os.kill(child, 0)  # still there
        parent.kill()
        for _ in range(100):
            if not _alive(child):
                return
            time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the worker outlived its parent")


def _alive(process):
    """Whether a process runs: one that ended may wait to be looked at."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
