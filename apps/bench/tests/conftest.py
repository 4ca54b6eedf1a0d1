"""Small structures, data files and grids shared by the tests."""

import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

SMALL = {
    "model": {
        "mace": {"channels": 4, "l_max": 1, "hidden_degree": 0, "radial_mlp": [8]},
        "cutoff": 4.0,
    },
    "train": {"epochs": 3, "batch_size": 4},
    "split": {"clusters": 4},
}


def toy_structure(seed: int, periodic: bool = False) -> ase.Atoms:
    """Five atoms with a pairwise repulsion of 1/r^4, and its exact forces."""
    rng = np.random.default_rng(seed)
    corners = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1.0]])
    positions = 1.5 * corners + rng.normal(scale=0.12, size=(5, 3))
    numbers = rng.permutation([1, 1, 6, 8, 6])
    atoms = ase.Atoms(numbers, positions)
    vectors = positions[:, None] - positions[None]
    r = np.linalg.norm(vectors, axis=-1) + np.eye(5)
    strength = 0.3 * np.sqrt(numbers[:, None] * numbers[None]) * (1 - np.eye(5))
    energy = 0.5 * np.sum(strength / r**4) - 30.0 * numbers.sum()
    forces = np.sum((4 * strength / r**6)[..., None] * vectors, axis=1)
    if periodic:
        atoms.cell, atoms.pbc = np.eye(3) * 12, True
    # Charges depend on the neighbors, and their sum is zero.
    density = np.sum((1 - np.eye(5)) / r**2, axis=1) * numbers
    charges = 0.05 * (density - density.mean())
    atoms.calc = SinglePointCalculator(
        atoms, energy=energy, forces=forces, charges=charges
    )
    atoms.info = {"id": f"s{seed:03d}", "group": f"g{seed // 2}"}
    return atoms


@pytest.fixture
def call_bench(monkeypatch, capfd):
    """Runs the command line in this process: status, standard output and error."""

    def call(*arguments):
        from bench.cli.main import main

        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        return (exit_info.value.code or 0, *capfd.readouterr())

    return call


@pytest.fixture
def structure_file(tmp_path) -> Path:
    path = tmp_path / "own.extxyz"
    ase.io.write(path, [toy_structure(i) for i in range(24)], format="extxyz")
    return path


@pytest.fixture
def periodic_file(tmp_path) -> Path:
    path = tmp_path / "periodic.extxyz"
    ase.io.write(path, [toy_structure(i, True) for i in range(4)], format="extxyz")
    return path


@pytest.fixture
def small_grid(structure_file):
    return grid_of(structure_file)


def grid_of(file: Path):
    from bench.settings.grid import Grid

    return Grid(dataset=str(file), **SMALL)


@pytest.fixture(name="grid_of", scope="session")
def _grid_of():
    return grid_of


@pytest.fixture(name="toy_structure", scope="session")
def _toy_structure():
    return toy_structure
