import sys
import warnings

import numpy as np
import pytest
from ase import Atoms
from dscribe.descriptors import SOAP

from chemsplit import MeanSoap, mean_soap
from chemsplit._soap import _dscribe

# ASE 3.29 sets the shape of an empty array in place, which NumPy 2.5 deprecates: in
# Atoms(), and in copy() and indexing, which start from it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting the shape on a NumPy array:DeprecationWarning:ase.atoms"
)

SMALL = {"n_max": 3, "l_max": 2, "r_cut": 3.5, "sigma": 0.3}


def water():
    return Atoms("OH2", [[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])


def methanol_like():
    positions = [[0, 0, 0], [1.4, 0, 0], [1.7, 0.9, 0], [-0.4, 1, 0], [-0.4, -0.5, 0.9]]
    return Atoms("COH3", positions)


def salt():
    cell = 2.8 * (1 - np.eye(3))
    return Atoms("NaCl", [[0, 0, 0], [2.8, 2.8, 2.8]], cell=cell, pbc=True)


def oxide():
    cell = [[3.2, 0, 0], [0.4, 3.6, 0], [-0.3, 0.7, 5.1]]
    positions = [[0.1, 0.2, 0.3], [1.6, 1.7, 2.2], [0.4, 1.9, 4.0], [2.2, 0.3, 3.7]]
    return Atoms("MgO2H", positions, cell=cell, pbc=True)


def dscribe(structures, *, periodic, mode="off"):
    species = sorted({z for s in structures for z in s.numbers.tolist()})
    soap = SOAP(
        species=species,
        average="outer",
        periodic=periodic,
        compression={"mode": mode, "species_weighting": None},
        **SMALL,
    )
    return np.stack([soap.create(s) for s in structures])


@pytest.mark.parametrize(
    ("compression", "mode"),
    [("off", "off"), ("same-element", "crossover"), ("crossover", "crossover")],
)
@pytest.mark.parametrize("periodic", [False, True])
def test_the_numbers_are_dscribes(periodic, compression, mode):
    structures = [salt(), oxide()] if periodic else [methanol_like(), water()]
    ours = mean_soap(structures, compression=compression, **SMALL)
    theirs = dscribe(structures, periodic=periodic, mode=mode)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours.toarray(), theirs, rtol=1e-6, atol=1e-12)


def test_the_default_settings_are_the_published_ones():
    soap = SOAP(species=[1, 8], r_cut=4.0, n_max=9, l_max=9, sigma=0.1, average="outer")
    ours = mean_soap([water()]).toarray()[0]
    np.testing.assert_allclose(ours, soap.create(water()), rtol=1e-6, atol=1e-12)


def test_open_and_periodic_structures_share_one_layout():
    both = mean_soap([water(), oxide()], **SMALL)
    species = ["H", 8, "Mg"]
    apart = [mean_soap([s], species=species, **SMALL) for s in (water(), oxide())]
    np.testing.assert_array_equal(both.toarray(), [a.toarray()[0] for a in apart])


def test_absent_elements_take_no_memory():
    few = mean_soap([water()], **SMALL)
    many = mean_soap([water()], species=range(1, 84), **SMALL)
    assert many.nnz == few.nnz
    assert many.shape[1] > 500 * few.shape[1]


@pytest.mark.parametrize("structure", [methanol_like(), salt(), oxide()])
def test_rotation_and_order_of_atoms_change_nothing(structure):
    turned = structure.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    rows = mean_soap([structure, turned, structure[::-1]], **SMALL).toarray()
    np.testing.assert_allclose(rows[1:], rows[[0, 0]], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("structure", [salt(), oxide()])
def test_a_supercell_or_another_image_is_the_same_crystal(structure):
    moved = structure.copy()
    moved.positions[0] += 3 * structure.cell[0] - 2 * structure.cell[2]
    supercell = structure.repeat((2, 1, 3))
    rows = mean_soap([structure, moved, supercell], **SMALL).toarray()
    np.testing.assert_allclose(rows[1:], rows[[0, 0]], rtol=1e-4, atol=1e-8)


def test_periodic_can_be_decided_for_all():
    as_open = mean_soap([oxide()], periodic=False, **SMALL).toarray()
    np.testing.assert_allclose(as_open, dscribe([oxide()], periodic=False), rtol=1e-6)
    slab = oxide()
    slab.pbc = [True, True, False]
    forced = mean_soap([slab], periodic=True, **SMALL).toarray()
    np.testing.assert_array_equal(forced, mean_soap([oxide()], **SMALL).toarray())


def test_a_molecule_alone_in_a_large_cell_is_the_open_one():
    boxed = methanol_like()
    boxed.set_cell([[12, 0, 0], [1, 12, 0], [0, -1, 12]])
    boxed.pbc = True
    crowded = boxed.copy()
    crowded.set_cell([4.5, 4.5, 4.5])  # images within the cutoff
    rows = mean_soap([methanol_like(), boxed, crowded], **SMALL).toarray()
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-5, atol=1e-9)
    assert np.abs(rows[2] - rows[0]).max() > 1e-2 * np.abs(rows[0]).max()


def test_workers_change_nothing_and_keep_the_order(rng):
    structures = [
        Atoms("H2O" if i % 2 else "NaH2", rng.normal(size=(3, 3))) for i in range(34)
    ]
    one = mean_soap(structures, n_jobs=1, **SMALL)
    two = mean_soap((s for s in structures), n_jobs=2, **SMALL)
    assert (one != two).nnz == 0


def nowhere():
    structure = water()
    structure.positions[1, 2] = np.nan
    return structure


def slab():
    structure = salt()
    structure.pbc = [True, True, False]
    return structure


def flat():
    return Atoms("H", [[0, 0, 0]], pbc=True)


def ghost():
    return Atoms("X", [[0, 0, 0]])


def empty():
    return water()[:0]


@pytest.mark.parametrize(
    ("bad", "options", "sentence"),
    [
        (oxide, {"species": [1, 8]}, "Structure 1 holds Mg, which is not in"),
        (empty, {}, "Structure 1 has no atoms"),
        (nowhere, {}, "Structure 1 has a position that is not a number"),
        (slab, {}, "Structure 1 is periodic in some directions only"),
        (flat, {}, "Structure 1 is to be periodic, but its cell has no volume"),
        (ghost, {}, "Structure 1 has an atom of no element"),
        (water, {"species": ["Xx"]}, "'Xx', which is not an element"),
        (water, {"species": []}, "names no element"),
        (water, {"compression": "mu2"}, "`compression` must be one of"),
    ],
)
def test_bad_input_is_one_sentence(bad, options, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        mean_soap([water(), bad()], **SMALL, **options)
    assert "\n" not in str(caught.value)


def test_an_empty_list_and_a_single_structure_are_refused():
    with pytest.raises(ValueError, match="no structure to describe"):
        mean_soap([])
    with pytest.raises(TypeError, match="entry 0 is a Atom"):
        mean_soap(water())


def test_dscribe_is_imported_without_a_word(tmp_path, monkeypatch):
    """Its docstrings hold invalid escapes, which Python tells of on compilation."""
    (tmp_path / "dscribe").mkdir()
    (tmp_path / "dscribe" / "__init__.py").touch()
    text = 'class SOAP:\n    "\\d"\n    def __init__(self, **settings):\n        pass\n'
    (tmp_path / "dscribe" / "descriptors.py").write_text(text)
    for name in [n for n in sys.modules if n.partition(".")[0] == "dscribe"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        made = _dscribe.__wrapped__(MeanSoap(), (1,), False)
        assert not heard
        compile(text, "descriptors.py", "exec")
    assert type(made).__module__ == "dscribe.descriptors"
    assert [one.category for one in heard] == [SyntaxWarning]
