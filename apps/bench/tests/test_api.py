"""The Python API: its names, and the examples of its docstrings."""

import doctest
import subprocess
import sys

import ase.io
import bench
import pytest
import yaml
from ase.calculators.singlepoint import SinglePointCalculator
from bench.exceptions import BenchError

ORDER = (
    *("prepare", "load_grid", "open_dataset", "make_split", "run_grid", "read_results"),
    *("write_report", "load_potential", "predict", "simulate"),
)
"""Later examples use the files that earlier ones write."""

SETTINGS = (
    *("Filters", "PreparationSettings", "ReadSettings"),
    *("SimulationSettings", "StructureSettings"),
)
"""Schemas, which the examples of the functions use."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy_structure, grid_of):
    """A working directory with a file of structures and a grid of one short run."""
    path = tmp_path_factory.mktemp("api")
    frames = [toy_structure(seed) for seed in range(24)]
    ase.io.write(path / "mine.extxyz", frames, format="extxyz")
    grid = grid_of("mine.extxyz").model_dump(mode="json")
    grid |= {"splits": ["random"], "long_range": ["none"]}
    (path / "mine.yaml").write_text(yaml.safe_dump(grid))
    return path


@pytest.fixture(scope="module")
def namespace(folder):
    """Variables after all examples were run one after the other."""
    variables = {"bench": bench}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ORDER:
            text = getattr(bench, name).__doc__
            examples = doctest.DocTestParser().get_examples(text, name)
            assert examples, f"{name} has no example"
            for example in examples:
                code = compile(example.source, f"<example of {name}>", "single")
                exec(code, variables)
    return variables


def test_examples_run(namespace, folder):
    dataset, predictions = namespace["dataset"], namespace["predictions"]
    assert len(dataset) == len(predictions) == 24
    assert predictions[3].forces.shape == (5, 3)
    study = namespace["study"]
    assert not study.failures
    assert [stage["name"] for stage in study.results[0]["stages"]]
    assert (folder / namespace["page"]).is_file()
    assert namespace["split"].name == "random"


def test_predictions_are_those_of_the_run(namespace, folder):
    potential, dataset = namespace["potential"], namespace["dataset"]
    stored = ase.io.read(
        folder / "runs" / "mine" / "random-mace-seed0" / "predictions.extxyz", ":"
    )
    energies = dict(zip(dataset.ids, namespace["energies"], strict=True))
    for atoms in stored:
        expected = atoms.get_potential_energy()
        assert energies[atoms.info["id"]] == pytest.approx(expected, abs=1e-4)
    other = ase.Atoms("NH", [[0, 0, 0], [1, 0, 0]])
    other.calc = SinglePointCalculator(other, energy=0.0)
    ase.io.write(folder / "other.extxyz", other)
    with pytest.raises(BenchError, match="contains N, which the potential was not"):
        bench.predict(potential, folder / "other.extxyz")


def test_names_are_listed_and_loaded_late():
    assert {*ORDER, *SETTINGS} == set(bench.__all__) <= set(dir(bench))
    code = "import sys, bench; dir(bench); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bench.nothing  # noqa: B018


def test_an_unknown_split_is_named(namespace):
    with pytest.raises(BenchError, match="no splitter 'fair': installed are charge"):
        bench.make_split(namespace["dataset"], "fair")
