"""Files of killed processes, full disks, and two processes on one folder."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import pytest
import yaml
from bench.experiment.runner import Failure, GridRunner
from bench.files import remove_leftovers, temporary_path

# A shell that runs tests in the background makes them and their children ignore SIGINT.
MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from bench.cli.main import main
main()
"""


def started(*arguments, **options):
    """The command in a process of its own, with its output in pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_files_of_dead_processes_are_swept(tmp_path):
    own = temporary_path(tmp_path / "deep" / "own.json")
    node = own.name.removeprefix("own.json.").rpartition("-")[0]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as other:
        names = {
            "dead": f"a.json.{node}-4194304.partial",
            "as before": "a.json.4194304.partial",
            "split": ".split.4194304.tmp.json",
            "alive": f"a.json.{node}-{other.pid}.partial",
            "elsewhere": "a.json.another-7.partial",
            "old": "a.json.another-8.partial",
            "no process": "metrics.csv.partial",
            "whole": "a.json",
        }
        own.parent.mkdir()
        own.touch()
        for name in names.values():
            (tmp_path / "deep" / name).touch()
        os.utime(tmp_path / "deep" / names["old"], (0, 0))
        remove_leftovers(tmp_path)
        remove_leftovers(tmp_path / "nowhere")
        left = {p.name for p in (tmp_path / "deep").iterdir()}
        kept = {names[k] for k in ("alive", "elsewhere", "no process", "whole")}
        assert left == kept | {own.name}
        other.communicate(b"\n")


def test_commands_sweep_their_folder(own_file, tmp_path, call_bench):
    out = tmp_path / "prepared"
    (out / "parts").mkdir(parents=True)
    left = [
        out / "preparation.json.4194304.partial",
        out / "parts" / "0.npz.4194304.partial",
    ]
    for path in left:
        path.touch()
    status, _, err = call_bench("prepare", own_file, "--out", out, "--workers", 1)
    assert (status, [p for p in left if p.exists()]) == (0, []), err


def test_a_full_disk_is_named(small_grid, tmp_path, monkeypatch):
    """One line for the run's folder, though the disk does not say what it refused."""
    runner = GridRunner(small_grid, tmp_path / "out")
    (tmp_path / "out").mkdir()

    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(
        "bench.experiment.splits.descriptors", lambda data: runner.vectors
    )
    run = small_grid.runs()[0]
    with pytest.raises(Exception, match=f"{run.name} cannot be written .No space left"):
        runner.run_one(run, lambda row: None)
    monkeypatch.undo()
    assert not list((tmp_path / "out" / run.name).glob("*.json"))
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_a_second_process_of_a_folder_is_refused(small_grid, tmp_path, call_bench):
    """Two processes that begin at once: one works, the other ends in one line."""
    grid, out = tmp_path / "grid.yaml", tmp_path / "out"
    grid.write_text(yaml.safe_dump(small_grid.model_dump(mode="json")))
    out.mkdir()
    held = filelock.FileLock(out / ".lock")
    with held:
        for command in (["run", grid], ["train", grid, small_grid.runs()[0].name]):
            status, _, err = call_bench(*command, "--out", out)
            assert status == 1 and f"Another process is working in {out}" in err
            assert len(err.splitlines()) == 1
    run = small_grid.runs()[0]
    runner = GridRunner(small_grid, out)
    (out / run.name).mkdir()
    with filelock.FileLock(out / run.name / ".lock"):
        outcome = runner.run_one(run, lambda row: None)
    assert isinstance(outcome, Failure) and "another process" in outcome.reason


@pytest.mark.parametrize("command", ["run", "md"])
def test_the_first_line_comes_at_once_without_a_terminal(command, own_file, tmp_path):
    """Ten seconds; imports and compilation take longer on some machines."""
    more = ["quick", "-o", f"dataset={own_file}"] if command == "run" else [tmp_path]
    began = time.perf_counter()
    with started(command, *more, "--out", tmp_path / "out") as process:
        watch = threading.Timer(30, process.kill)
        watch.start()
        line = process.stdout.readline()
        seconds = time.perf_counter() - began
        process.kill()
        watch.cancel()
    assert "loading JAX" in line and seconds < 10


def test_an_interrupt_of_several_processes_is_one_line(small_grid, tmp_path):
    """Also where they are still importing."""
    grid, out = tmp_path / "grid.yaml", tmp_path / "out"
    grid.write_text(yaml.safe_dump(small_grid.model_dump(mode="json")))
    command = ("run", grid, "--out", out, "--jobs", 2)
    with started(*command, start_new_session=True) as process:
        watch = threading.Timer(120, process.kill)
        watch.start()
        for line in process.stdout:
            if "started in its own process" in line:
                break
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate()
        watch.cancel()
    assert process.returncode == 130, err
    assert err.startswith("bench: interrupted") and len(err.splitlines()) == 1
