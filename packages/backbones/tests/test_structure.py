import ase
import ase.build
import backbones as bb
import numpy as np
import pytest
from ase.neighborlist import neighbor_list


def test_slab_boundaries_are_refused():
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
def test_bad_structures_are_refused(change, message):
    good = {"numbers": np.array([1]), "positions": np.zeros((1, 3))}
    with pytest.raises(ValueError, match=message):
        bb.Structure(**(good | change))


def test_cutoff_must_be_positive(structure):
    with pytest.raises(ValueError, match="must be positive, got -1"):
        bb.neighbors(structure(), -1.0)


@pytest.mark.parametrize("box", [3.0, 8.0])
@pytest.mark.parametrize("periodic", [True, False])
def test_neighbours_are_those_ase_finds(box, periodic, structure):
    s = structure(1, atoms=5, box=box, periodic=periodic)
    found = bb.neighbors(s, 4.0)
    atoms = ase.Atoms(s.numbers, s.positions, cell=s.cell, pbc=periodic)
    i, j, shift = neighbor_list("ijS", atoms, 4.0)
    ours = {
        (*p[:2], *p[2])
        for p in zip(found.receivers, found.senders, found.shifts, strict=True)
    }
    theirs = {(*p[:2], *p[2]) for p in zip(i, j, shift, strict=True)}
    assert len(found) == len(i)
    assert ours == theirs
    assert np.all(np.diff(found.receivers) >= 0)
