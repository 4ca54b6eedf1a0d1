"""What `how_tests_run.py` decides for the tests of all members."""

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "tests" / "how_tests_run.py"


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    spec = importlib.util.spec_from_file_location(
        "settings", ROOT / "tests" / "how_tests_run.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("places", "asked", "processes", "dist"),
    [
        (["packages", "apps"], {}, "logical", "worksteal"),
        (["tests"], {"dist": "loadfile"}, "logical", "loadfile"),
        (["tests"], {"numprocesses": 0}, 0, "no"),
        (["tests"], {"collectonly": True}, None, "no"),
        (["tests/test_numerics.py"], {}, None, "no"),
        (["tests", "tests/test_readmes.py::test_block_runs_as_pasted"], {}, None, "no"),
    ],
)
def test_folders_are_tested_by_a_process_per_core(
    settings, places, asked, processes, dist, monkeypatch, tmp_path
):
    monkeypatch.setattr(settings, "KEPT", tmp_path)
    option = {"numprocesses": None, "maxprocesses": None, "dist": "no"}
    option = SimpleNamespace(**{**option, "collectonly": False, **asked})
    invoked = SimpleNamespace(dir=ROOT)
    config = SimpleNamespace(option=option, args=places, invocation_params=invoked)
    settings.pytest_cmdline_main(config)
    assert (option.numprocesses, option.dist) == (processes, dist)


def test_members_alone_need_no_process_per_core(settings, monkeypatch, tmp_path):
    """Their environments hold no pytest-xdist, which brings these options."""
    monkeypatch.setattr(settings, "KEPT", tmp_path)
    option, invoked = SimpleNamespace(collectonly=False), SimpleNamespace(dir=ROOT)
    config = SimpleNamespace(option=option, args=["tests"], invocation_params=invoked)
    settings.pytest_cmdline_main(config)
    assert vars(option) == {"collectonly": False}


def test_programs_used_longest_ago_make_room(settings, monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "KEPT", tmp_path)
    monkeypatch.setattr(settings, "ROOM", 250)
    for i, name in enumerate("cab"):
        path = tmp_path / f"machine {i}" / name
        path.parent.mkdir()
        path.write_bytes(bytes(100))
        os.utime(path, (ord(name), ord(name)))
    settings._make_room()
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["b", "c"]


def test_programs_are_kept_for_one_kind_of_machine(settings):
    kept = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert jax.config.jax_compilation_cache_dir == str(kept)
    assert jax.lib.__version__ in settings.PROGRAMS.name


def test_programs_are_forgotten_where_memory_maps_run_out(settings, monkeypatch):
    double = jax.jit(lambda x: 2 * x)
    double(1.0)
    for most, kept in ((10**6, 1), (0, 0)):
        monkeypatch.setattr(settings, "MOST_MAPS", most)
        wrapped = settings.programs_end_where_there_are_too_many.__wrapped__()
        next(wrapped)
        assert next(wrapped, None) is None
        assert double._cache_size() == kept
