"""Error messages and help of all commands."""

import errno
import json
import lzma
import re
import time
import zipfile

import numpy as np
import pytest
import yaml
from bench.cli.command_group import EXPECTED
from bench.cli.main import app
from bench.exceptions import BenchError, printable
from bench.settings.parsing import _children
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
def test_expected_errors_are_one_line(error, message, call_bench, monkeypatch):
    def fail(name):
        raise error

    assert isinstance(error, EXPECTED)
    monkeypatch.setattr("bench.settings.grid.preset_text", fail)
    status, out, err = call_bench("template", "quick")
    assert (status, out) == (1, "")
    assert err.startswith("bench: ") and message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("error", [KeyError("key"), TypeError("type"), AssertionError])
def test_unexpected_errors_keep_their_traceback(error, monkeypatch):
    def fail(name):
        raise error

    monkeypatch.setattr("bench.settings.grid.preset_text", fail)
    result = CliRunner().invoke(app, ["template", "quick"])
    assert not isinstance(result.exception, BenchError | SystemExit)


@pytest.mark.parametrize("statement", ["np.zeros(3).reshape(2, 2)", "json.loads('[')"])
def test_library_error_includes_our_source_line(statement, call_bench, monkeypatch):
    namespace = {"__name__": "bench._module", "np": np, "json": json}
    exec(f"def fail(name):\n    {statement}", namespace)
    monkeypatch.setattr("bench.settings.grid.preset_text", namespace["fail"])
    status, _, err = call_bench("template", "quick")
    assert status == 1 and err.endswith(" (at bench._module:2).\n")


def test_error_raised_by_our_packages_has_no_source_line(call_bench, monkeypatch):
    namespace = {"__name__": "backbones._module"}
    exec("def fail(name):\n    raise ValueError('Do this.')", namespace)
    monkeypatch.setattr("bench.settings.grid.preset_text", namespace["fail"])
    assert call_bench("template", "quick") == (1, "", "bench: Do this.\n")


def test_interrupt_has_exit_status_130(call_bench, monkeypatch):
    def stop(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.settings.grid.preset_text", stop)
    assert call_bench("template", "quick") == (130, "", "bench: interrupted.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("run",), "Missing argument"),
        (("run", "quick", "--jobs", "zero"), "--jobs"),
        (("md", "x", "--nonsense"), "No such option"),
        (("md", "x", "--mode", "long"), "'--mode': 'long' is not one of"),
        (("md",), "No models are given"),
        (("md", "-o", "models=[x]"), "x does not exist"),
        (("prepare",), "The source is missing"),
        (("prepare", "m.extxyz"), "is missing: bench prepare m.extxyz --out FOLDER"),
        (("run", "quick", "-o", "seeds=[0"), "-o seeds=[0 cannot be read"),
        (("run", "quick", "-o", "seeds=" + 2000 * "["), "nested too deeply"),
        (("run", "quick", "-o", "seeds=[&a [1], *b]"), "undefined alias"),
        (("run", "quick", "-o", "seeds=&a [*a]"), "an anchor contains itself"),
        (("run", "quick", "-o", "model={cutoff: 4, cutoff: 5}"), "is repeated"),
        (("run", "quick", "-o", 'seeds=!!int ""'), "cannot be read: not valid YAML"),
        (("run", "x" * 300 + ".yaml"), "File name too long"),
        (
            ("train", "quick", "random-mace-seed0", "--distributed"),
            "cannot be connected",
        ),
        (
            ("train", "quick", "random-mace-seed0", "--process-id", "0"),
            "need --distributed",
        ),
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
    waiting = "--distributed" in arguments
    assert status in (1, 2) and out == waiting * "waiting for the other processes\n"
    assert err.startswith("bench: ") and message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# Größe\ndataset: ions\n".encode("latin-1"), "is not UTF-8 text (byte 4)"),
        (b"dataset: " + 5000 * b"[", "nested too deeply"),
        (BOMB.encode(), "with all aliases expanded"),
        (b"dataset: " + 1_100_000 * b"x", "characters"),
        (b"dataset: ions\nseeds: [0\n", "line 3, column 1"),
        (
            b"datset: x\ntrain: {epochs: 0, batch_size: 0}\n",
            "unknown key 'datset'; did you mean 'dataset'? train.epochs: Input should "
            "be greater than or equal to 1 (got 0). train.batch_size: ",
        ),
        (b"datset: x\n", "did you mean 'dataset'? dataset is missing."),
        (b"seeds: 2001-99-99\n", "not valid YAML (month must be in 1..12"),
    ],
)
def test_invalid_grid_files(content, message, call_bench, tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_bytes(content)
    status, out, err = call_bench("run", path, "--out", tmp_path / "out")
    assert (status, out) == (1, "")
    assert str(path) in err and message in err and len(err) < 400
    assert [p.name for p in tmp_path.iterdir()] == ["grid.yaml"]


def test_control_characters_are_escaped():
    assert printable("a\n b\u2028c \x1b[31mred\x07") == "a b c \\x1b[31mred\\x07"


def test_help_shows_brackets(monkeypatch):
    """Unescaped square brackets would be interpreted as markup."""
    monkeypatch.setenv("COLUMNS", "400")
    brackets = 0
    for name, command in get_command(app).commands.items():
        output = CliRunner().invoke(app, [name, "--help"], color=False).output
        words = " ".join(re.sub("[^ -~]", " ", output).split())
        for option in command.params:
            if option.help:
                text = re.sub("[^ -~]", " ", option.help.replace("\\[", "["))
                assert " ".join(text.split()) in words, option.help
                brackets += "[" in text
    assert brackets >= 7


def test_keys_are_compared_in_linear_time():
    """Comparing all pairs of 50,000 keys would take minutes."""
    text = yaml.SafeLoader.DEFAULT_SCALAR_TAG
    keys = [yaml.ScalarNode(text, str(i)) for i in range(50_000)]
    mapping = yaml.MappingNode(
        "tag", [(key, yaml.ScalarNode(text, "")) for key in keys]
    )
    start = time.process_time()
    assert len(_children(mapping, "it")) == 100_000
    assert time.process_time() - start < 2
