"""Atomic writes, locked folders, interrupts and full disks."""

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

# A shell makes background processes, and so their children, ignore SIGINT.
MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from bench.cli.main import main
main()
"""


def start_command(*arguments, **options):
    """Starts the command in another process with its output in pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_leftovers_of_dead_processes_are_deleted(tmp_path):
    temporary = temporary_path(tmp_path / "deep" / "own.json")
    node = temporary.name.removeprefix("own.json.").rpartition("-")[0]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as other:
        names = {
            "dead": f"a.json.{node}-4194304.partial",
            "without node": "a.json.4194304.partial",
            "split": ".split.4194304.tmp.json",
            "alive": f"a.json.{node}-{other.pid}.partial",
            "other node": "a.json.another-7.partial",
            "old": "a.json.another-8.partial",
            "without process": "metrics.csv.partial",
            "complete": "a.json",
        }
        temporary.parent.mkdir()
        temporary.touch()
        for name in names.values():
            (tmp_path / "deep" / name).touch()
        os.utime(tmp_path / "deep" / names["old"], (0, 0))
        remove_leftovers(tmp_path)
        remove_leftovers(tmp_path / "nowhere")
        remaining = {p.name for p in (tmp_path / "deep").iterdir()}
        keys = ("alive", "other node", "without process", "complete")
        assert remaining == {names[key] for key in keys} | {temporary.name}
        other.communicate(b"\n")


def test_commands_delete_leftovers_in_their_folder(
    structure_file, tmp_path, call_bench
):
    out = tmp_path / "prepared"
    (out / "parts").mkdir(parents=True)
    leftovers = [
        out / "preparation.json.4194304.partial",
        out / "parts" / "0.npz.4194304.partial",
    ]
    for path in leftovers:
        path.touch()
    status, _, err = call_bench("prepare", structure_file, "--out", out, "--workers", 1)
    assert (status, [p for p in leftovers if p.exists()]) == (0, []), err


def test_a_full_disk_is_reported_with_its_folder(small_grid, tmp_path, monkeypatch):
    """The error of the operating system does not contain a path."""
    runner = GridRunner(small_grid, tmp_path / "out")
    (tmp_path / "out").mkdir()

    def raise_full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", raise_full_disk)
    monkeypatch.setattr("bench.experiment.runner.split_data", raise_full_disk)
    run = small_grid.runs()[0]
    with pytest.raises(Exception, match=f"{run.name} cannot be written .No space left"):
        runner.run_one(run, lambda row: None)
    monkeypatch.undo()
    assert not list((tmp_path / "out" / run.name).glob("*.json"))
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_a_second_process_in_a_folder_is_rejected(small_grid, tmp_path, call_bench):
    """The second of two simultaneous commands stops with a one-line error."""
    grid, out = tmp_path / "grid.yaml", tmp_path / "out"
    grid.write_text(yaml.safe_dump(small_grid.model_dump(mode="json")))
    out.mkdir()
    lock = filelock.FileLock(out / ".lock")
    with lock:
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
def test_the_first_line_is_printed_immediately_without_a_terminal(
    command, structure_file, tmp_path
):
    """Within ten seconds, before imports and compilation."""
    arguments = (
        ["quick", "-o", f"dataset={structure_file}"] if command == "run" else [tmp_path]
    )
    start = time.perf_counter()
    with start_command(command, *arguments, "--out", tmp_path / "out") as process:
        timer = threading.Timer(30, process.kill)
        timer.start()
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
        process.kill()
        timer.cancel()
    assert "loading JAX" in line and seconds < 10


def test_interrupting_several_processes_prints_one_line(small_grid, tmp_path):
    """Also while the worker processes are importing."""
    grid, out = tmp_path / "grid.yaml", tmp_path / "out"
    grid.write_text(yaml.safe_dump(small_grid.model_dump(mode="json")))
    command = ("run", grid, "--out", out, "--jobs", 2)
    with start_command(*command, start_new_session=True) as process:
        timer = threading.Timer(120, process.kill)
        timer.start()
        for line in process.stdout:
            if "started in its own process" in line:
                break
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate()
        timer.cancel()
    assert process.returncode == 130, err
    assert err.startswith("bench: interrupted") and len(err.splitlines()) == 1
