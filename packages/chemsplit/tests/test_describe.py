import io
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from dscribe.core import System
from dscribe.descriptors import MBTR
from scipy.sparse import csr_matrix

import chemsplit._describe
from chemsplit import Composition, Mbtr, MeanSoap, describe, mean_soap

# ASE 3.29 sets the shape of an empty array in place, which NumPy 2.5 deprecates: in
# Atoms(), and in copy() and indexing, which start from it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting the shape on a NumPy array:DeprecationWarning:ase.atoms"
)

SOAP = MeanSoap(r_cut=3.0, n_max=2, l_max=1)
MOLECULES = ["CH4", "H2O", "NH3", "CH3OH", "C2H6"]


def molecules():
    return [molecule(name) for name in MOLECULES]


@pytest.fixture
def fixed_dscribe(monkeypatch):
    """DScribe 2.1 passes arguments to ASE 3.29 in the order of older versions."""

    def from_atoms(atoms):
        system = System.__new__(System)
        Atoms.__init__(system, atoms)
        system._distance_matrix = system._cell_inverse = None
        system._displacement_tensor = system._inverse_distance_matrix = None
        return system

    monkeypatch.setattr(System, "from_atoms", staticmethod(from_atoms))


@pytest.mark.usefixtures("fixed_dscribe")
@pytest.mark.parametrize("function", ["inverse_distance", "distance"])
@pytest.mark.parametrize("periodic", [False, True])
def test_mbtr_equals_dscribes(function, periodic):
    structures = molecules()
    if periodic:
        structures = [bulk("NaCl", "rocksalt", a=5.6), bulk("MgO", "rocksalt", a=4.2)]
    options = {"low": 0.1, "high": 4.0, "n_grid": 12, "sigma": 0.1, "r_cut": 4.0}
    ours = describe(structures, Mbtr(function, **options)).toarray()
    theirs = MBTR(
        species=sorted({z for s in structures for z in s.numbers}),
        periodic=periodic,
        geometry={"function": function},
        grid={"min": 0.1, "max": 4.0, "n": 12, "sigma": 0.1},
        weighting={"function": "exp", "r_cut": 4.0, "threshold": 1e-3},
        normalization="l2",
    )
    expected = np.stack([theirs.create(s) for s in structures])
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("descriptor", [Mbtr(r_cut=4.0), Composition()])
def test_descriptors_are_invariant_to_rotation_and_supercells(descriptor):
    crystal = bulk("NaCl", "rocksalt", a=5.6)
    rotated = crystal.copy()
    rotated.rotate(40, (1, 2, 3), rotate_cell=True)
    rows = describe([crystal, rotated, crystal.repeat((2, 1, 2))], descriptor).toarray()
    np.testing.assert_allclose(rows[1:], rows[[0, 0]], rtol=1e-4, atol=1e-6)


def test_composition_gives_element_fractions_or_counts():
    fractions = describe(molecules(), Composition()).toarray()
    np.testing.assert_allclose(fractions.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(fractions[0], [4 / 5, 1 / 5, 0, 0], rtol=1e-6)  # H C N O
    counts = describe(molecules(), Composition(counts=True), species="HCNOS")
    assert counts.toarray()[3].tolist() == [4, 1, 0, 1, 0]


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_an_array_is_checked_and_returned(rng, form):
    array = form(rng.normal(size=(5, 7)))
    result = describe(molecules(), array)
    assert (result != array).sum() == 0
    with pytest.raises(ValueError, match="The array has 5 rows for 4 structures"):
        describe(molecules()[:4], array)
    with pytest.raises(ValueError, match="contains NaN"):
        describe(molecules(), form(np.full((5, 2), np.nan)))


def test_structures_are_read_one_by_one_and_not_stored(monkeypatch):
    monkeypatch.setattr(chemsplit._describe, "_CHUNK", 4)
    yielded = []

    def stream():
        for i in range(20):
            yield Atoms("H2", [[0, 0, 0], [0, 0, 0.7 + 0.01 * i]])
            yielded.append(i)

    n_read = []
    original = chemsplit._describe._compute_rows

    def recording(chunk, *rest):
        n_read.append(len(yielded))
        return original(chunk, *rest)

    monkeypatch.setattr(chemsplit._describe, "_compute_rows", recording)
    X = describe(stream(), SOAP)
    assert X.shape[0] == 20
    assert n_read == [3, 7, 11, 15, 19]  # each chunk is read just before its rows
    expected = describe([Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])], SOAP)
    np.testing.assert_allclose(X[10].toarray(), expected.toarray(), rtol=1e-6)


def test_the_result_does_not_depend_on_the_chunk_size(monkeypatch):
    one_chunk = describe(molecules(), SOAP)
    monkeypatch.setattr(chemsplit._describe, "_CHUNK", 2)
    assert (describe(molecules(), SOAP) != one_chunk).nnz == 0


@pytest.fixture
def computed(monkeypatch):
    """List of computed rows, with chunks of two structures."""
    monkeypatch.setattr(chemsplit._describe, "_CHUNK", 2)
    computed = []
    original = chemsplit._describe._row

    def row(descriptor, geometry):
        computed.append(geometry)
        return original(descriptor, geometry)

    monkeypatch.setattr(chemsplit._describe, "_row", row)
    return computed


def test_an_interrupted_call_is_resumed(computed, tmp_path):
    def interrupted():
        yield from molecules()[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        describe(interrupted(), SOAP, store=tmp_path / "rows")
    assert len(computed) == 4
    X = describe(molecules(), SOAP, store=tmp_path / "rows")
    assert len(computed) == 5
    assert (describe(molecules(), SOAP) != X).nnz == 0
    del computed[:]
    describe(molecules(), SOAP, store=tmp_path / "rows")
    assert computed == []
    assert not [p for p in (tmp_path / "rows").iterdir() if p.name.startswith(".")]


def test_rows_of_other_structures_or_settings_are_computed_again(computed, tmp_path):
    structures = molecules()
    first = describe(structures, SOAP, store=tmp_path)
    structures[0].positions[0] += 0.01
    del computed[:]
    moved = describe(structures, SOAP, store=tmp_path)
    assert len(computed) == 2  # the chunk of the structure that moved
    assert (moved != first).nnz > 0
    del computed[:]
    describe(molecules(), MeanSoap(r_cut=3.0, n_max=2, l_max=2), store=tmp_path)
    assert len(computed) == 5
    del computed[:]
    crystal = bulk("NaCl", "rocksalt", a=5.6)
    describe([crystal], SOAP, store=tmp_path)
    describe([crystal], SOAP, store=tmp_path, periodic=False)
    assert len(computed) == 2


def test_a_damaged_file_is_computed_again(computed, tmp_path):
    expected = describe(molecules(), SOAP, store=tmp_path)
    path = sorted(tmp_path.iterdir())[0]
    path.write_bytes(path.read_bytes()[:100])
    assert (describe(molecules(), SOAP, store=tmp_path) != expected).nnz == 0
    assert len(computed) in (6, 7)
    assert path.stat().st_size > 100


def test_progress_is_shown_on_a_terminal_only(capfd):
    describe(molecules(), SOAP)
    out, err = capfd.readouterr()
    assert out == err == ""


def test_the_progress_bar_counts_structures(monkeypatch):
    output = io.StringIO()
    output.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", output)
    describe(molecules(), SOAP)
    assert "MeanSoap: 100%" in output.getvalue()
    assert "5/5" in output.getvalue()


def test_stored_rows_are_used_by_another_process(tmp_path):
    code = (
        "import sys; from ase.build import molecule; import chemsplit._describe as d\n"
        "from chemsplit import MeanSoap\n"
        "def row(*_): raise SystemExit('computed')\n"
        "d._row = row\n"
        f"d.describe([molecule(n) for n in {MOLECULES}], "
        f"MeanSoap(r_cut=3.0, n_max=2, l_max=1), store={str(tmp_path)!r})"
    )
    describe(molecules(), SOAP, store=tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mbtr("angle"), '`function` must be "inverse_distance" or "distance"'),
        (lambda: Mbtr(n_grid=1), "The grid needs at least two points in ascending"),
        (lambda: Mbtr(low=2.0), "got n_grid=60 from 2.0 to 1.2"),
        (lambda: MeanSoap(compression="mu2"), "`compression` must be one of 'off'"),
    ],
)
def test_invalid_settings_are_rejected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_mean_soap_equals_describe_with_the_descriptor():
    X = mean_soap(molecules(), r_cut=3.0, n_max=2, l_max=1)
    assert (describe(molecules(), SOAP) != X).nnz == 0
