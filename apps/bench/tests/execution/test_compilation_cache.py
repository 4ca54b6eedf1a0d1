"""The persistent compilation cache of the commands."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench.execution.compilation_cache import cache_directory, enable_compilation_cache

PROGRAM = """
import sys
from bench.execution.compilation_cache import enable_compilation_cache

enable_compilation_cache("--no-cache" in sys.argv)
import collections
import jax
import jax.numpy as jnp

events = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name]))

@jax.jit
def energy(x):
    return jnp.sum(jnp.tanh(x @ x.T) / (1 + jnp.exp(-x.sum(1))))

gradient = jax.jit(jax.grad(energy))(jnp.linspace(0.0, 1.0, 60).reshape(20, 3))
hits = events["/jax/compilation_cache/cache_hits"]
print(hits, events["/jax/compilation_cache/cache_misses"], bytes(gradient).hex())
"""


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Without settings of JAX, and with an empty folder of caches."""
    for name in list(os.environ):
        if "CACHE" in name:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    return monkeypatch


def start(*options):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Hits, misses, the bytes of the result, and what was printed besides."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    *lines, figures = out.splitlines()
    hits, misses, result = figures.split()
    return int(hits), int(misses), result, "\n".join([*lines, errors])


def test_second_start_loads_programs_and_damaged_ones_are_compiled_again(environment):
    hits, misses, expected, _ = finish(start("--no-cache"))
    assert (hits, misses) == (0, 0) and not cache_directory().exists()
    # Two processes at the same time, as with --jobs 2.
    for hits, misses, result, _ in map(finish, [start(), start()]):
        assert hits + misses > 0 and result == expected
    programs = sorted(cache_directory().glob("*-cache"))
    assert len(programs) > 2
    loaded = finish(start())
    assert loaded == (len(programs), 0, expected, "")

    programs[0].write_bytes(os.urandom(999))
    for path in programs[1:]:
        path.write_bytes(path.read_bytes()[:100])
    # What a process leaves that is killed while it writes: no time of use.
    for path in programs[2:]:
        path.with_name(path.name.removesuffix("-cache") + "-atime").unlink()
    hits, misses, result, printed = finish(start())
    assert (hits, misses, result) == (0, len(programs), expected)
    assert printed.count("Error reading persistent compilation cache entry") == 2
    sizes = [path.stat().st_size for path in programs]
    assert min(sizes[2:]) > 100 and sizes[:2] == [999, 100]


def test_folder_that_cannot_be_written_is_one_line(environment, capsys, tmp_path):
    (tmp_path / "long-range-bench").write_text("a file")
    enable_compilation_cache()
    (line,) = capsys.readouterr().out.splitlines()
    assert str(cache_directory()) in line and "make the folder writable" in line
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JAX_COMPILATION_CACHE_DIR", "/elsewhere"),
        ("JAX_ENABLE_COMPILATION_CACHE", "false"),
    ],
)
def test_settings_of_the_user_take_precedence(environment, name, value, tmp_path):
    environment.setenv(name, value)
    before = dict(os.environ)
    enable_compilation_cache()
    assert os.environ == before and not any(tmp_path.iterdir())


def test_programs_that_were_long_unused_are_deleted(environment, tmp_path):
    environment.setenv("JAX_COMPILATION_CACHE_DIR", "")  # restored after the test
    long_ago = time.time() - 100 * 86_400
    for name, age in {"old": long_ago, "new": time.time()}.items():
        folder = tmp_path / "long-range-bench" / name
        folder.mkdir(parents=True)
        (folder / "jit_f-0-cache").write_bytes(b"")
        os.utime(folder, (age, age))
    enable_compilation_cache()
    folders = {path.name for path in (tmp_path / "long-range-bench").iterdir()}
    assert folders == {"new", cache_directory().name}


def test_each_processor_has_its_own_folder(environment):
    native = cache_directory()
    read = Path.read_text

    def of_another_processor(path, **options):
        text = read(path, **options)
        return f"flags\t: another\n{text}" if path.name == "cpuinfo" else text

    environment.setattr(Path, "read_text", of_another_processor)
    assert cache_directory() != native


@pytest.mark.parametrize(
    "command", ["run quick", "train quick RUN", "eval RUN", "md .", ""]
)
def test_every_command_that_compiles_has_the_option(command, monkeypatch, call_bench):
    class Called(Exception):
        pass

    def stop(no_cache):
        raise Called(no_cache)

    for module in ("main", "md", "models"):
        monkeypatch.setattr(f"bench.cli.{module}.enable_compilation_cache", stop)
    for options, expected in (((), False), (("--no-cache",), True)):
        from bench.cli.main import app

        with pytest.raises(Called) as error:
            app([*command.split(), *options], standalone_mode=False)
        assert error.value.args == (expected,)
