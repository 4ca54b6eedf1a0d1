"""Worker processes."""

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


def test_workers_exit_when_their_parent_is_killed(tmp_path):
    """Otherwise they would write into a folder that another command may use."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, signal.SIGINT)
        time.sleep(0.2)
        os.kill(child, 0)  # raises if the process has exited
        parent.kill()
        for _ in range(100):
            if not _alive(child):
                return
            time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the worker outlived its parent")


def _alive(process):
    """Returns whether a process runs and is not a zombie."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
