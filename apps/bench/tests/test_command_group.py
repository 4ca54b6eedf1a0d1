"""What every command does with errors, and what its help says."""

import errno
import lzma
import re
import zipfile

import pytest
import yaml
from bench._cli import app
from bench._command_group import EXPECTED
from bench._errors import BenchError, one_line
from typer.main import get_command
from typer.testing import CliRunner

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "big"), "big: No space left"),
        (OSError("disk"), "OSError: disk"),
        (ValueError("one\ntwo"), "one two"),
        (UnicodeDecodeError("utf-8", b"\xe4", 0, 1, "bad"), "'utf-8' codec"),
        (EOFError(), "EOFError"),
        (MemoryError(), "too little memory"),
        (RecursionError("maximum depth"), "nested too deeply"),
        (yaml.YAMLError("yaml"), "yaml"),
        (lzma.LZMAError("corrupt"), "corrupt"),
        (zipfile.BadZipFile("no zip"), "no zip"),
    ],
)
def test_expected_errors_end_in_one_line(error, message, call_bench, monkeypatch):
    def fail(name):
        raise error

    assert isinstance(error, EXPECTED)
    monkeypatch.setattr("bench._config.preset_text", fail)
    status, out, err = call_bench("template", "quick")
    assert (status, out) == (1, "")
    assert err.startswith("bench: ") and message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("error", [KeyError("key"), TypeError("type"), AssertionError])
def test_faults_of_the_program_keep_their_traceback(error, monkeypatch):
    def fail(name):
        raise error

    monkeypatch.setattr("bench._config.preset_text", fail)
    done = CliRunner().invoke(app, ["template", "quick"])
    assert not isinstance(done.exception, BenchError | SystemExit)


def test_an_interrupt_has_its_status(call_bench, monkeypatch):
    def stop(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("bench._config.preset_text", stop)
    assert call_bench("template", "quick") == (130, "", "bench: interrupted.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("run",), "Missing argument"),
        (("run", "quick", "--jobs", "zero"), "--jobs"),
        (("md", "x", "--nonsense"), "No such option"),
        (("run", "quick", "-o", "seeds=[0"), "-o seeds=[0 cannot be read"),
        (("run", "quick", "-o", "seeds=" + 2000 * "["), "nested too deeply"),
        (("run", "quick", "-o", "seeds=[&a [1], *b]"), "undefined alias"),
        (("run", "quick", "-o", "seeds=&a [*a]"), "an anchor holds itself"),
        (("run", "quick", "-o", "model={cutoff: 4, cutoff: 5}"), "stands twice"),
        (("run", "quick", "-o", 'seeds=!!int ""'), "cannot be read: not valid YAML"),
        (("run", "x" * 300 + ".yaml"), "File name too long"),
        (("train", "quick", "random-mace-seed0", "--together"), "cannot be connected"),
        (("train", "quick", "random-mace-seed0", "--host", "0"), "need --together"),
        (("train", "quick", "random-mace-seed0", "--coordinator", "x"), "NAME:PORT"),
        (
            ("train", "quick", "random-mace-seed0", "--coordinator", "localhost:1:2"),
            "NAME:PORT",
        ),
        (
            ("train", "quick", "random-mace-seed0", "--coordinator", "localhost:99999"),
            "NAME:PORT",
        ),
    ],
)
def test_command_lines(arguments, message, call_bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = call_bench(*arguments)
    waiting = "--together" in arguments
    assert status in (1, 2) and out == waiting * "waiting for the other processes\n"
    assert err.startswith("bench: ") and message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# Größe\ndataset: ions\n".encode("latin-1"), "is not UTF-8 text (byte 4)"),
        (b"dataset: " + 5000 * b"[", "nested too deeply"),
        (BOMB.encode(), "once its anchors are written out"),
        (b"dataset: " + 1_100_000 * b"x", "characters"),
        (b"dataset: ions\nseeds: [0\n", "line 3, column 1"),
        (b"seeds: 2001-99-99\n", "not valid YAML (month must be in 1..12"),
    ],
)
def test_grids_that_are_no_grids(content, message, call_bench, tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_bytes(content)
    status, out, err = call_bench("run", path, "--out", tmp_path / "out")
    assert (status, out) == (1, "")
    assert str(path) in err and message in err and len(err) < 400
    assert [p.name for p in tmp_path.iterdir()] == ["grid.yaml"]


def test_names_of_others_do_not_reach_the_terminal():
    assert one_line("a\n b\u2028c \x1b[31mred\x07") == "a b c \\x1b[31mred\\x07"


def test_help_shows_every_word_of_its_source(monkeypatch):
    """Square brackets would be taken for markup and vanish."""
    monkeypatch.setenv("COLUMNS", "400")
    told = 0
    for name, command in get_command(app).commands.items():
        shown = CliRunner().invoke(app, [name, "--help"], color=False).output
        words = " ".join(re.sub("[^ -~]", " ", shown).split())
        for option in command.params:
            if option.help:
                text = re.sub("[^ -~]", " ", option.help.replace("\\[", "["))
                assert " ".join(text.split()) in words, option.help
                told += "[" in text
    assert told >= 7
