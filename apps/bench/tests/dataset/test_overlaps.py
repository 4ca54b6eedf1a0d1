"""Overlapping atoms, compared with all pairs and images."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from bench.dataset.columns import columns_from_rows
from bench.dataset.opening import load_for_training, open_dataset
from bench.dataset.overlaps import find_overlaps
from bench.dataset.preparing import prepare
from bench.dataset.summary import describe
from bench.exceptions import BenchError
from bench.settings.preparation import PreparationSettings
from bench.sources import Row

DATA = Path(__file__).parents[1] / "data"
SHIFTS = np.array(list(itertools.product(range(-4, 5), repeat=3)))


def row(positions, cell=None, id="a"):
    return Row(id, "g", np.ones(len(positions), int), np.array(positions, float), cell)


def smallest_distance(positions, cell):
    """Returns the smallest distance between atoms or images, by brute force."""
    shifts = np.zeros((1, 3)) if cell is None else SHIFTS @ cell
    differences = positions[:, None, None] - positions[None, :, None] + shifts
    lengths = np.linalg.norm(differences, axis=-1)
    atoms = np.arange(len(positions))
    lengths[atoms, atoms, len(shifts) // 2] = np.inf
    return lengths.min()


def random_structure(rng):
    """Returns positions and cell, often with a pair near the minimum distance."""
    count = int(rng.integers(1, 8))
    cell = None
    positions = rng.uniform(-3, 3, (count, 3)) * rng.choice([0.2, 1, 1e4])
    if rng.random() < 0.6:
        cell = rng.normal(size=(3, 3)) * rng.choice([1, 4])
        positions = rng.uniform(-1, 2, (count, 3)) @ cell
        if abs(np.linalg.det(cell)) < 0.01 * np.linalg.norm(cell, axis=1).prod():
            return random_structure(rng)
    if count > 1 and rng.random() < 0.5:
        step = rng.normal(size=3)
        step *= rng.uniform(0.05, 0.15) / np.linalg.norm(step)
        lattice = 0 if cell is None else rng.integers(-2, 3, 3) @ cell
        positions[0] = positions[1] + step + lattice
    return positions, cell


def test_overlaps_agree_with_brute_force():
    rng = np.random.default_rng(0)
    structures = [random_structure(rng) for _ in range(300)]
    overlaps = find_overlaps(
        columns_from_rows([row(*s, id=str(i)) for i, s in enumerate(structures)])
    )
    expected = [i for i, s in enumerate(structures) if smallest_distance(*s) < 0.1]
    assert sorted(overlaps) == expected
    assert 50 < len(expected) < 250
    assert find_overlaps(columns_from_rows([])) == {}


@pytest.mark.parametrize(
    ("positions", "cell", "message"),
    [
        ([[0, 0, 0], [1, 0, 0], [0.06, 0, 0.06]], None, "atoms 0 and 2 are 0.085 Å"),
        ([[0.02, 0, 0], [8.96, 9, 0]], 9 * np.eye(3), "atoms 0 and 1 are 0.06 Å"),
        ([[0, 0, 0]], np.diag([9, 0.05, 9]), "an atom and its own image are 0.05 Å"),
        ([[0, 0, 0]], [[9, 0, 0], [0, 9, 0], [9, 9, 0.05]], "own image are 0.05 Å"),
    ],
)
def test_messages_give_atoms_and_distance(positions, cell, message):
    (text,) = find_overlaps(columns_from_rows([row(positions, cell)])).values()
    assert message in text


def test_many_coincident_atoms_take_linear_time():
    assert list(find_overlaps(columns_from_rows([row(np.zeros((20_000, 3)))]))) == [0]


def test_structures_with_overlaps_are_left_out(tmp_path):
    path = DATA / "overlaps.xyz"
    header = prepare(PreparationSettings(source=str(path)), tmp_path / "out")
    assert (header["read"], header["structures"], header["rejected"]) == (14, 12, 2)
    assert header["rejected_examples"] == [
        ["0000005", "atoms 1 and 2 are 0 Å apart"],
        ["0000009", "atoms 1 and 2 are 0 Å apart"],
    ]
    assert header["labels"]["forces"] == 12
    direct = describe(open_dataset(str(path), strict=False))
    for text in (direct, describe(open_dataset(str(tmp_path / "out")))):
        assert (
            "unusable         2, such as 0000005: atoms 1 and 2 are 0 Å apart" in text
        )
    with pytest.raises(BenchError, match="0000005: atoms 1 and 2 .*; fix or remove it"):
        load_for_training(str(path))


def test_an_overlap_of_the_only_structure_is_an_error():
    with pytest.raises(BenchError, match="none is left .* atoms 1 and 3 are 0 Å apart"):
        open_dataset(str(DATA / "overlap_in_a_cell.xyz"), strict=False)
