import ase
import ase.build
import backbones as bb
import numpy as np
import pytest
from ase.neighborlist import neighbor_list


def test_slabs_raise():
    with pytest.raises(ValueError, match="mix open and periodic"):
        bb.Structure.from_ase(ase.build.fcc111("Cu", (1, 1, 2), 8.0), total_charge=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"numbers": np.zeros(0, int), "positions": np.zeros((0, 3))},
            "at least one atom",
        ),
        ({"positions": np.zeros((2, 3))}, r"shape \(1, 3\)"),
        ({"positions": np.array([[0, np.nan, 0]])}, "atom 0 is not finite"),
        ({"numbers": np.array([0])}, "between 1 and 118"),
        ({"cell": np.zeros((3, 3))}, "no volume"),
        ({"cell": np.ones(3)}, "three finite lattice vectors"),
    ],
)
def test_invalid_structures_raise(change, message):
    good = {"numbers": np.array([1]), "positions": np.zeros((1, 3))}
    with pytest.raises(ValueError, match=message):
        bb.Structure(**(good | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cutoff": -1.0}, "must be positive, got -1"),
        ({"positions": np.full((3, 3), np.nan)}, "`positions` has values that are not"),
        ({"cell": np.full((3, 3), np.inf)}, "`cell` has values that are not finite"),
        ({"closest": 9.0, "species": np.array([1, 6])}, r"Atom 0 \(H\) and 1 \(C\)"),
        ({"closest": 9.0}, "Atom 0 and 1 are 1 Å apart"),
    ],
)
def test_neighbors_reject_invalid_arrays(change, message):
    good = {"positions": np.array([[0, 0, 0], [0, 0, 1.0]]), "cell": None}
    with pytest.raises(ValueError, match=message):
        bb.neighbors(**(good | {"cutoff": 4.0} | change))


@pytest.mark.parametrize("box", [3.0, 8.0])
@pytest.mark.parametrize("periodic", [True, False])
def test_neighbors_agree_with_ase(box, periodic, structure):
    s = structure(1, atoms=5, box=box, periodic=periodic)
    pairs = bb.neighbors(s.positions, s.cell, 4.0)
    atoms = ase.Atoms(s.numbers, s.positions, cell=s.cell, pbc=periodic)
    i, j, shift = neighbor_list("ijS", atoms, 4.0)
    actual = {
        (*p[:2], *p[2])
        for p in zip(pairs.receivers, pairs.senders, pairs.shifts, strict=True)
    }
    expected = {(*p[:2], *p[2]) for p in zip(i, j, shift, strict=True)}
    assert len(pairs) == len(i)
    assert actual == expected
    assert np.all(np.diff(pairs.receivers) >= 0)
