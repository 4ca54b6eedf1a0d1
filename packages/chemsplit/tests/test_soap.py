import sys
import warnings

import numpy as np
import pytest
from ase import Atoms
from dscribe.descriptors import SOAP

from chemsplit import MeanSoap, mean_soap
from chemsplit._soap import _dscribe_soap

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
def test_values_equal_dscribes(periodic, compression, mode):
    structures = [salt(), oxide()] if periodic else [methanol_like(), water()]
    ours = mean_soap(structures, compression=compression, **SMALL)
    theirs = dscribe(structures, periodic=periodic, mode=mode)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours.toarray(), theirs, rtol=1e-6, atol=1e-12)


def test_the_default_settings_are_the_published_ones():
    soap = SOAP(species=[1, 8], r_cut=4.0, n_max=9, l_max=9, sigma=0.1, average="outer")
    ours = mean_soap([water()]).toarray()[0]
    np.testing.assert_allclose(ours, soap.create(water()), rtol=1e-6, atol=1e-12)


def test_open_and_periodic_structures_have_the_same_columns():
    both = mean_soap([water(), oxide()], **SMALL)
    species = ["H", 8, "Mg"]
    separate = [mean_soap([s], species=species, **SMALL) for s in (water(), oxide())]
    np.testing.assert_array_equal(both.toarray(), [X.toarray()[0] for X in separate])


def test_absent_elements_need_no_memory():
    few = mean_soap([water()], **SMALL)
    many = mean_soap([water()], species=range(1, 84), **SMALL)
    assert many.nnz == few.nnz
    assert many.shape[1] > 500 * few.shape[1]


@pytest.mark.parametrize("structure", [methanol_like(), salt(), oxide()])
def test_invariance_to_rotation_and_order_of_atoms(structure):
    rotated = structure.copy()
    rotated.rotate(40, (1, 2, 3), rotate_cell=True)
    rows = mean_soap([structure, rotated, structure[::-1]], **SMALL).toarray()
    np.testing.assert_allclose(rows[1:], rows[[0, 0]], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("structure", [salt(), oxide()])
def test_invariance_to_supercells_and_periodic_images(structure):
    moved = structure.copy()
    moved.positions[0] += 3 * structure.cell[0] - 2 * structure.cell[2]
    supercell = structure.repeat((2, 1, 3))
    rows = mean_soap([structure, moved, supercell], **SMALL).toarray()
    np.testing.assert_allclose(rows[1:], rows[[0, 0]], rtol=1e-4, atol=1e-8)


def test_the_periodic_option_overrides_pbc():
    as_open = mean_soap([oxide()], periodic=False, **SMALL).toarray()
    np.testing.assert_allclose(as_open, dscribe([oxide()], periodic=False), rtol=1e-6)
    slab = oxide()
    slab.pbc = [True, True, False]
    forced = mean_soap([slab], periodic=True, **SMALL).toarray()
    np.testing.assert_array_equal(forced, mean_soap([oxide()], **SMALL).toarray())


def test_a_molecule_in_a_large_cell_equals_the_open_one():
    boxed = methanol_like()
    boxed.set_cell([[12, 0, 0], [1, 12, 0], [0, -1, 12]])
    boxed.pbc = True
    crowded = boxed.copy()
    crowded.set_cell([4.5, 4.5, 4.5])  # images within the cutoff
    rows = mean_soap([methanol_like(), boxed, crowded], **SMALL).toarray()
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-5, atol=1e-9)
    assert np.abs(rows[2] - rows[0]).max() > 1e-2 * np.abs(rows[0]).max()


def test_parallel_rows_equal_serial_ones_in_order(rng):
    structures = [
        Atoms("H2O" if i % 2 else "NaH2", rng.normal(size=(3, 3))) for i in range(34)
    ]
    serial = mean_soap(structures, n_jobs=1, **SMALL)
    parallel = mean_soap((s for s in structures), n_jobs=2, **SMALL)
    assert (serial != parallel).nnz == 0


def nan_position():
    structure = water()
    structure.positions[1, 2] = np.nan
    return structure


def slab():
    structure = salt()
    structure.pbc = [True, True, False]
    return structure


def zero_volume():
    return Atoms("H", [[0, 0, 0]], pbc=True)


def without_element():
    return Atoms("X", [[0, 0, 0]])


def empty():
    return water()[:0]


@pytest.mark.parametrize(
    ("invalid", "options", "message"),
    [
        (oxide, {"species": [1, 8]}, "Structure 1 contains Mg, which is not in"),
        (empty, {}, "Structure 1 has no atoms"),
        (nan_position, {}, "Structure 1 has a position that is not finite"),
        (slab, {}, "Structure 1 is periodic in some directions only"),
        (zero_volume, {}, "Structure 1 is periodic, but its cell has no volume"),
        (without_element, {}, "Structure 1 has an atom without element"),
        (water, {"species": ["Xx"]}, "'Xx', which is not an element"),
        (water, {"species": []}, "must contain at least one element"),
        (water, {"compression": "mu2"}, "`compression` must be one of"),
    ],
)
def test_invalid_input_is_a_one_line_error(invalid, options, message):
    with pytest.raises(ValueError, match=message) as raised:
        mean_soap([water(), invalid()], **SMALL, **options)
    assert "\n" not in str(raised.value)


def test_an_empty_list_and_a_single_structure_are_rejected():
    with pytest.raises(ValueError, match="no structure to describe"):
        mean_soap([])
    with pytest.raises(TypeError, match="entry 0 is of type Atom"):
        mean_soap(water())


def test_dscribe_is_imported_without_warnings(tmp_path, monkeypatch):
    """Its docstrings have invalid escapes, of which Python warns on compilation."""
    (tmp_path / "dscribe").mkdir()
    (tmp_path / "dscribe" / "__init__.py").touch()
    text = 'class SOAP:\n    "\\d"\n    def __init__(self, **settings):\n        pass\n'
    (tmp_path / "dscribe" / "descriptors.py").write_text(text)
    for name in [n for n in sys.modules if n.partition(".")[0] == "dscribe"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        soap = _dscribe_soap.__wrapped__(MeanSoap(), (1,), False)
        assert not caught
        compile(text, "descriptors.py", "exec")
    assert type(soap).__module__ == "dscribe.descriptors"
    assert [warning.category for warning in caught] == [SyntaxWarning]
