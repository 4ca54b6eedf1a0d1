"""The files of the QMOF database and CIFs with charges."""

import json
import zipfile

import ase.io
import numpy as np
import pytest
from bench.exceptions import BenchError
from bench.sources import Reading, Rejected, open_source
from bench.sources.cif import reduced_formula


def rows_of(path, **names):
    source = open_source(str(path), Reading(**names))
    return [row for unit in source.units() for row in source.rows(unit)]


def structure(atoms, charges, cm5):
    """A dictionary in the form that pymatgen gives to a structure."""
    sites = [
        {
            "species": [{"element": a.symbol, "occu": 1}],
            "abc": list(a.scaled_position),
            "xyz": list(a.position),
            "label": a.symbol,
            "properties": {"pbe_ddec_charge": q, "pbe_cm5_charge": c},
        }
        for a, q, c in zip(atoms, charges, cm5, strict=True)
    ]
    return {"lattice": {"matrix": atoms.cell.array.tolist()}, "sites": sites}


@pytest.fixture
def database(tmp_path, springs):
    atoms = [springs(i, periodic=True) for i in range(3)]
    charges = [np.arange(5) / 10 + i for i in range(3)]
    energies = [-10.5, None, -12.5]
    names = ["qmof-b", "qmof-a", "qmof-c"]
    entries = [
        {"qmof_id": n, "name": n[-1], "structure": structure(a, q, 2 * q)}
        for n, a, q in zip(names, atoms, charges, strict=True)
    ]
    table = [
        {"qmof_id": n, "outputs": {"pbe": {"energy_total": e}, "hse06": {}}}
        for n, e in zip(names, energies, strict=True)
    ]
    (tmp_path / "qmof_structure_data.json").write_text(json.dumps(entries))
    (tmp_path / "qmof.json").write_text(json.dumps(table))
    return tmp_path, atoms, charges


def test_structures_meet_their_energies(database):
    folder, atoms, charges = database
    rows = rows_of(folder)
    assert [r.id for r in rows] == ["qmof-b", "qmof-a", "qmof-c"]
    # A null energy is no energy; the charges of that MOF are of use all the same.
    assert [r.energy for r in rows] == [-10.5, None, -12.5]
    for row, a, q in zip(rows, atoms, charges, strict=True):
        np.testing.assert_array_equal(row.numbers, a.numbers)
        np.testing.assert_allclose(row.positions, a.positions)
        np.testing.assert_allclose(row.cell, a.cell.array)
        np.testing.assert_allclose(row.charges, q)
        assert row.forces is None
    cm5 = rows_of(folder, charges="pbe_cm5_charge", group="name")
    np.testing.assert_allclose(cm5[2].charges, 2 * charges[2])
    assert cm5[2].group == "c"


def test_the_table_may_be_csv(database):
    folder, _, _ = database
    (folder / "qmof.json").unlink()
    (folder / "qmof.csv").write_text(
        "qmof_id,name,outputs.pbe.energy_total\nqmof-b,b,-1.5\nqmof-a,a,\n"
    )
    assert [r.energy for r in rows_of(folder)] == [-1.5, None, None]
    with pytest.raises(BenchError, match="no column 'outputs.hse06.energy_total'"):
        rows_of(folder, energy="outputs.hse06.energy_total")
    # Names in other letters, and the mark that some spreadsheets begin with.
    table = folder / "qmof.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b",b,", b",\xe9,"))
    assert [r.energy for r in rows_of(folder)] == [-1.5, None, None]
    table.write_bytes(b"qmof_id,\0" + b"x" * 200_000)
    with pytest.raises(BenchError, match="qmof.csv: "):
        rows_of(folder)


def test_truncated_json_is_refused(database):
    folder, _, _ = database
    path = folder / "qmof_structure_data.json"
    path.write_text(path.read_text()[:-200])
    with pytest.raises(BenchError, match="truncated or damaged after 2 entries"):
        rows_of(folder)


def test_disordered_and_strange_structures_are_named(database):
    folder, _, _ = database
    path = folder / "qmof_structure_data.json"
    entries = json.loads(path.read_text())
    entries[0]["structure"]["sites"][1]["species"][0]["occu"] = 0.5
    entries[1]["structure"]["sites"][1]["species"][0]["element"] = "D"
    del entries[2]["structure"]["lattice"]
    path.write_text(json.dumps([*entries, {"qmof_id": "x"}, 7]))
    rows = rows_of(folder)
    assert all(isinstance(r, Rejected) for r in rows) and len(rows) == 5
    whys = " | ".join(r.why for r in rows)
    assert "partly occupied" in whys and "no element 'D'" in whys and "lattice" in whys


CIF = """data_test
_cell_length_a 9.0
_cell_length_b 10.0
_cell_length_c 11.0
_cell_angle_alpha 90.0
_cell_angle_beta 100.0
_cell_angle_gamma 90.0
_symmetry_space_group_name_H-M 'P 1'
loop_
 _symmetry_equiv_pos_site_id
 _symmetry_equiv_pos_as_xyz
  1 'x, y, z'
{more}loop_
 _atom_site_type_symbol
 _atom_site_label
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
 _atom_site_pbe_cm5_charge
 _atom_site_pbe_ddec_charge
 Zn Zn0 0.10 0.20 0.30 {occupancy} 0.61 0.81
 O O1 0.40 0.50 0.60 1 -0.31 -0.41
 O O2 0.70 0.80 0.90 1 -0.30 -0.40
"""


def cif(more="", occupancy="1"):
    return CIF.format(more=more, occupancy=occupancy)


@pytest.fixture
def cifs(tmp_path):
    folder = tmp_path / "relaxed_structures"
    folder.mkdir()
    for name in ("qmof-1", "qmof-2"):
        (folder / f"{name}.cif").write_text(cif())
    return folder


def test_cifs_carry_their_charges(cifs):
    first, second = rows_of(cifs)
    assert (first.id, second.id) == ("qmof-1", "qmof-2")
    assert first.group == second.group == "O2Zn"
    np.testing.assert_allclose(first.charges, [0.81, -0.41, -0.40])
    theirs = ase.io.read(cifs / "qmof-1.cif")
    np.testing.assert_array_equal(first.numbers, theirs.numbers)
    np.testing.assert_allclose(first.positions, theirs.positions, atol=1e-9)
    np.testing.assert_allclose(first.cell, theirs.cell.array)
    cm5 = rows_of(cifs, charges="pbe_cm5_charge")[0]
    np.testing.assert_allclose(cm5.charges, [0.61, -0.31, -0.30])


def test_cifs_beside_a_table_and_in_a_zip(cifs):
    (cifs.parent / "qmof.csv").write_text(
        "qmof_id,outputs.pbe.energy_total\nqmof-2,-7.5\n"
    )
    assert [r.energy for r in rows_of(cifs.parent)] == [None, -7.5]
    packed = cifs.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w") as archive:
        for path in cifs.iterdir():
            archive.write(path, path.name)
        archive.writestr("__MACOSX/._qmof-1.cif", b"\0junk")
    assert [r.id for r in rows_of(packed)] == ["qmof-1", "qmof-2"]
    for path in [*cifs.iterdir()]:
        path.unlink()
    assert [r.energy for r in rows_of(cifs.parent)] == [None, -7.5]
    packed.unlink()
    with pytest.raises(BenchError, match="neither qmof_structure_data.json nor"):
        rows_of(cifs.parent)


def test_charges_follow_the_symmetry(cifs):
    inverted = "  2 '-x, -y, -z'\n"
    (cifs / "qmof-1.cif").write_text(cif(more=inverted).replace("'P 1'", "'P -1'"))
    (cifs / "qmof-2.cif").write_text(cif(occupancy="0.5"))
    symmetric, disordered = rows_of(cifs)
    np.testing.assert_allclose(symmetric.charges, np.repeat([0.81, -0.41, -0.40], 2))
    plain = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
    theirs = np.stack([plain, 1 - plain], 1).reshape(6, 3)
    np.testing.assert_allclose(symmetric.positions, theirs @ symmetric.cell, atol=1e-12)
    assert "partly occupied" in disordered.why


def test_a_cif_that_is_none_is_named(cifs):
    (cifs / "qmof-1.cif").write_text("this is no CIF")
    (cifs / "qmof-2.cif").write_bytes(b"\xff\xfe\x00")
    assert all(isinstance(r, Rejected) for r in rows_of(cifs))


@pytest.mark.parametrize(
    ("symbols", "formula"), [("C6H6", "CH"), ("Zn2O4H4", "H2O2Zn"), ("He3", "He")]
)
def test_formulas_are_reduced(symbols, formula):
    assert reduced_formula(ase.Atoms(symbols).numbers) == formula
