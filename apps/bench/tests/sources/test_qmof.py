"""The files of the QMOF database and CIFs with charges."""

import json
import zipfile

import ase.io
import numpy as np
import pytest
from bench.exceptions import BenchError
from bench.sources import ReadOptions, Rejected, open_source
from bench.sources.cif import reduced_formula


def read_rows(path, **keys):
    source = open_source(str(path), ReadOptions(keys=keys))
    return [row for part in source.row_ranges() for row in source.rows(part)]


def structure(atoms, charges, cm5):
    """Returns a structure as pymatgen's dictionary."""
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
def database(tmp_path, toy_structure):
    atoms = [toy_structure(i, periodic=True) for i in range(3)]
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


def test_structures_have_energies_of_the_table(database):
    folder, atoms, charges = database
    rows = read_rows(folder)
    assert [r.id for r in rows] == ["qmof-b", "qmof-a", "qmof-c"]
    # A null energy is missing; the charges of that MOF are read.
    assert [r.energy for r in rows] == [-10.5, None, -12.5]
    for row, a, q in zip(rows, atoms, charges, strict=True):
        np.testing.assert_array_equal(row.numbers, a.numbers)
        np.testing.assert_allclose(row.positions, a.positions)
        np.testing.assert_allclose(row.cell, a.cell.array)
        np.testing.assert_allclose(row.charges, q)
        assert row.forces is None
    cm5 = read_rows(folder, charges="pbe_cm5_charge", group="name")
    np.testing.assert_allclose(cm5[2].charges, 2 * charges[2])
    assert cm5[2].group == "c"


def test_table_may_be_csv(database):
    folder, _, _ = database
    (folder / "qmof.json").unlink()
    (folder / "qmof.csv").write_text(
        "qmof_id,name,outputs.pbe.energy_total\nqmof-b,b,-1.5\nqmof-a,a,\n"
    )
    assert [r.energy for r in read_rows(folder)] == [-1.5, None, None]
    with pytest.raises(BenchError, match="no column 'outputs.hse06.energy_total'"):
        read_rows(folder, energy="outputs.hse06.energy_total")
    # Names in Latin-1, and a byte-order mark as some spreadsheets write it.
    table = folder / "qmof.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b",b,", b",\xe9,"))
    assert [r.energy for r in read_rows(folder)] == [-1.5, None, None]
    table.write_bytes(b"qmof_id,\0" + b"x" * 200_000)
    with pytest.raises(BenchError, match="qmof.csv: "):
        read_rows(folder)


def test_truncated_json_is_rejected(database):
    folder, _, _ = database
    path = folder / "qmof_structure_data.json"
    path.write_text(path.read_text()[:-200])
    with pytest.raises(BenchError, match="truncated or damaged after 2 entries"):
        read_rows(folder)


def test_disordered_and_invalid_structures_are_rejected(database):
    folder, _, _ = database
    path = folder / "qmof_structure_data.json"
    entries = json.loads(path.read_text())
    entries[0]["structure"]["sites"][1]["species"][0]["occu"] = 0.5
    entries[1]["structure"]["sites"][1]["species"][0]["element"] = "D"
    del entries[2]["structure"]["lattice"]
    path.write_text(json.dumps([*entries, {"qmof_id": "x"}, 7]))
    rows = read_rows(folder)
    assert all(isinstance(r, Rejected) for r in rows) and len(rows) == 5
    reasons = " | ".join(r.reason for r in rows)
    assert (
        "partially occupied" in reasons
        and "no element 'D'" in reasons
        and "lattice" in reasons
    )


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


def test_cifs_have_charges(cifs):
    first, second = read_rows(cifs)
    assert (first.id, second.id) == ("qmof-1", "qmof-2")
    assert first.group == second.group == "O2Zn"
    np.testing.assert_allclose(first.charges, [0.81, -0.41, -0.40])
    expected = ase.io.read(cifs / "qmof-1.cif")
    np.testing.assert_array_equal(first.numbers, expected.numbers)
    np.testing.assert_allclose(first.positions, expected.positions, atol=1e-9)
    np.testing.assert_allclose(first.cell, expected.cell.array)
    cm5 = read_rows(cifs, charges="pbe_cm5_charge")[0]
    np.testing.assert_allclose(cm5.charges, [0.61, -0.31, -0.30])


def test_cifs_with_a_table_and_in_a_zip(cifs):
    (cifs.parent / "qmof.csv").write_text(
        "qmof_id,outputs.pbe.energy_total\nqmof-2,-7.5\n"
    )
    assert [r.energy for r in read_rows(cifs.parent)] == [None, -7.5]
    zip_path = cifs.with_suffix(".zip")
    with zipfile.ZipFile(zip_path, "w") as archive:
        for path in cifs.iterdir():
            archive.write(path, path.name)
        archive.writestr("__MACOSX/._qmof-1.cif", b"\0junk")
    assert [r.id for r in read_rows(zip_path)] == ["qmof-1", "qmof-2"]
    for path in [*cifs.iterdir()]:
        path.unlink()
    assert [r.energy for r in read_rows(cifs.parent)] == [None, -7.5]
    zip_path.unlink()
    with pytest.raises(BenchError, match="neither qmof_structure_data.json nor"):
        read_rows(cifs.parent)


def test_charges_of_symmetric_images(cifs):
    inverted = "  2 '-x, -y, -z'\n"
    (cifs / "qmof-1.cif").write_text(cif(more=inverted).replace("'P 1'", "'P -1'"))
    (cifs / "qmof-2.cif").write_text(cif(occupancy="0.5"))
    symmetric, disordered = read_rows(cifs)
    np.testing.assert_allclose(symmetric.charges, np.repeat([0.81, -0.41, -0.40], 2))
    plain = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
    expected = np.stack([plain, 1 - plain], 1).reshape(6, 3)
    np.testing.assert_allclose(
        symmetric.positions, expected @ symmetric.cell, atol=1e-12
    )
    assert "partially occupied" in disordered.reason


def test_invalid_cif_is_rejected(cifs):
    (cifs / "qmof-1.cif").write_text("this is no CIF")
    (cifs / "qmof-2.cif").write_bytes(b"\xff\xfe\x00")
    assert all(isinstance(r, Rejected) for r in read_rows(cifs))


@pytest.mark.parametrize(
    ("symbols", "formula"), [("C6H6", "CH"), ("Zn2O4H4", "H2O2Zn"), ("He3", "He")]
)
def test_reduced_formula(symbols, formula):
    assert reduced_formula(ase.Atoms(symbols).numbers) == formula
