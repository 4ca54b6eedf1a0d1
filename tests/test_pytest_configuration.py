"""Tests of `pytest_configuration.py`, which configures the tests of all members."""

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "tests" / "pytest_configuration.py"


@pytest.fixture
def configuration(monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    spec = importlib.util.spec_from_file_location("configuration", CONFIGURATION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("paths", "options", "processes", "dist"),
    [
        (["packages", "apps"], {}, "logical", "worksteal"),
        (["tests"], {"dist": "loadfile"}, "logical", "loadfile"),
        (["tests"], {"numprocesses": 0}, 0, "no"),
        (["tests"], {"collectonly": True}, None, "no"),
        (["tests/test_numerics.py"], {}, None, "no"),
        (["tests", "tests/test_readmes.py::test_code_block_runs"], {}, None, "no"),
    ],
)
def test_folders_are_tested_with_one_process_per_core(
    configuration, paths, options, processes, dist, monkeypatch, tmp_path
):
    monkeypatch.setattr(configuration, "CACHE_ROOT", tmp_path)
    option = {"numprocesses": None, "maxprocesses": None, "dist": "no"}
    option = SimpleNamespace(**{**option, "collectonly": False, **options})
    invocation = SimpleNamespace(dir=ROOT)
    config = SimpleNamespace(option=option, args=paths, invocation_params=invocation)
    configuration.pytest_cmdline_main(config)
    assert (option.numprocesses, option.dist) == (processes, dist)


def test_options_are_unchanged_without_xdist(configuration, monkeypatch, tmp_path):
    """The environment of one member has no pytest-xdist, which defines the options."""
    monkeypatch.setattr(configuration, "CACHE_ROOT", tmp_path)
    option = SimpleNamespace(collectonly=False)
    invocation = SimpleNamespace(dir=ROOT)
    config = SimpleNamespace(
        option=option, args=["tests"], invocation_params=invocation
    )
    configuration.pytest_cmdline_main(config)
    assert vars(option) == {"collectonly": False}


def test_least_recently_used_programs_are_deleted(configuration, monkeypatch, tmp_path):
    monkeypatch.setattr(configuration, "CACHE_ROOT", tmp_path)
    monkeypatch.setattr(configuration, "MAX_CACHE_BYTES", 250)
    for i, name in enumerate("cab"):
        path = tmp_path / f"machine {i}" / name
        path.parent.mkdir()
        path.write_bytes(bytes(100))
        os.utime(path, (ord(name), ord(name)))
    configuration._evict_least_recently_used()
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["b", "c"]


def test_the_cache_depends_on_the_version_of_jaxlib(configuration):
    directory = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert jax.config.jax_compilation_cache_dir == str(directory)
    assert jax.lib.__version__ in configuration.CACHE_DIRECTORY.name


def test_jax_caches_are_cleared_at_the_limit_of_memory_maps(configuration, monkeypatch):
    double = jax.jit(lambda x: 2 * x)
    double(1.0)
    for limit, cached in ((10**6, 1), (0, 0)):
        monkeypatch.setattr(configuration, "MAX_MEMORY_MAPS", limit)
        fixture = configuration.limit_memory_maps.__wrapped__()
        next(fixture)
        assert next(fixture, None) is None
        assert double._cache_size() == cached
