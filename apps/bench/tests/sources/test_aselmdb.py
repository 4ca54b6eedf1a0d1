"""LMDB databases, written by ASE and read by both ASE and bench."""

import json
import re
import zlib

import ase.db
import lmdb
import numpy as np
import pytest
from bench.exceptions import BenchError
from bench.sources import ReadOptions, Rejected, open_source


def read_rows(path, **keys):
    source = open_source(str(path), ReadOptions(keys=keys))
    return [row for part in source.row_ranges() for row in source.rows(part)]


@pytest.fixture
def omol(tmp_path, toy_structure):
    """Rows in the format of OMol25: two steps of a molecule, two conformers."""
    path = tmp_path / "omol.aselmdb"
    names = [
        "omol/metal_organics/outputs_low_spin_241118/7_1_-1_1/step0",
        "omol/metal_organics/outputs_low_spin_241118/7_1_-1_1/step4",
        "ani2x/ani2x_005_1_0_1",
        "ani2x/ani2x_005_2_0_1",
    ]
    with ase.db.connect(path, type="aselmdb") as database:
        for i, name in enumerate(names):
            data = {
                "source": f"{name}/orca.tar.zst",
                "data_id": "metal_complexes" if i < 2 else "ani2x",
                "composition": "C2H2O1",
                "charge": -1 if i < 2 else 0,
                "spin": 1 + i,
                "lowdin_charges": np.linspace(-0.2, 0.2, 5) + i,
                "nbo_charges": np.full(5, 0.1 * i),
            }
            database.write(toy_structure(i), data=data)
    return path


def test_rows_agree_with_ase(omol):
    rows = read_rows(omol)
    with ase.db.connect(omol, type="aselmdb", readonly=True) as database:
        for row, ase_row in zip(rows, database.select(), strict=True):
            np.testing.assert_array_equal(row.numbers, ase_row.numbers)
            np.testing.assert_array_equal(row.positions, ase_row.positions)
            np.testing.assert_array_equal(row.forces, ase_row.forces)
            assert row.energy == ase_row.energy
            assert row.cell is None
            np.testing.assert_allclose(row.charges, ase_row.data["lowdin_charges"])
            assert row.total_charge == ase_row.data["charge"]
            assert row.spin == ase_row.data["spin"]


def test_groups_are_molecules_of_steps_and_compositions_of_conformers(omol):
    rows = read_rows(omol)
    root = "omol/metal_organics/outputs_low_spin_241118/7_1_-1_1"
    assert [r.id for r in rows[:2]] == [f"{root}/step0", f"{root}/step4"]
    assert [r.group for r in rows] == [root] * 2 + ["ani2x/C2H2O1"] * 2


def test_keys_of_charges_and_group_can_be_given(omol):
    rows = read_rows(omol, charges="nbo_charges", group="data_id")
    assert rows[3].group == "ani2x"
    np.testing.assert_allclose(rows[3].charges, 0.3)
    assert all(row.charges is None for row in read_rows(omol, charges="ddec"))


def test_odac25_frames_are_grouped_by_mof(tmp_path, toy_structure):
    path = tmp_path / "part.aselmdb"
    with ase.db.connect(path, type="aselmdb") as database:
        atoms = toy_structure(1, periodic=True)
        atoms.set_tags([0, 0, 0, 1, 1])
        del atoms.calc.results["charges"]
        data = {"sid": 3, "fid": 14, "name": "ABCDEF_CO2", "mof_name": "ABCDEF"}
        database.write(atoms, data=data)
    (row,) = read_rows(path)
    assert (row.id, row.group) == ("ABCDEF_CO2/3/14", "ABCDEF")
    assert row.tags.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_array_equal(row.cell, atoms.cell.array)
    assert row.charges is None and row.total_charge is None


def test_deleted_rows_are_skipped(omol):
    with ase.db.connect(omol, type="aselmdb") as database:
        database.delete([2])
    assert [r.id[-5:] for r in read_rows(omol)] == ["step0", "1_0_1", "2_0_1"]


def change(path, number, blob):
    with (
        lmdb.open(str(path), subdir=False, map_size=1 << 24) as database,
        database.begin(write=True) as transaction,
    ):
        transaction.put(str(number).encode(), blob)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no zlib at all", "cannot be decompressed"),
        (zlib.compress(b'{"numbers": [1'), "Expecting"),
        (zlib.compress(b"[1, 2]"), "not a JSON object"),
        (zlib.compress(b'{"numbers": [1]}'), "positions"),
        (zlib.compress(b'{"numbers": [500], "positions": [[0,0,0]]}'), "1 and 118"),
        (zlib.compress(b'{"numbers": [1], "positions": [[0,0,NaN]]}'), "not finite"),
        (zlib.compress(b"{}" * 3)[:-3], "truncated|Extra"),
        (zlib.compress(b"[" * 100_000), "recursion"),
        (
            zlib.compress(
                b'{"numbers": {"__ndarray__": [[1], "object", [1]]}, "positions": 1}'
            ),
            "type 'object'",
        ),
    ],
)
def test_invalid_row_is_rejected_and_the_others_are_read(omol, content, reason):
    change(omol, 2, content)
    rows = read_rows(omol)
    assert len(rows) == 4
    bad = [r for r in rows if isinstance(r, Rejected)]
    assert len(bad) == 1 and bad[0].location == f"Row 2 of {omol}"
    assert re.search(reason, bad[0].reason), bad[0].reason


def test_row_that_decompresses_to_too_much_is_rejected(omol, monkeypatch):
    monkeypatch.setattr("bench.sources.aselmdb.MAX_ROW_BYTES", 1 << 20)
    change(omol, 2, zlib.compress(b" " * (1 << 21) + b"{}"))
    assert "larger than 1 MiB" in read_rows(omol)[1].reason


def test_data_may_be_nested_json(omol):
    with (
        lmdb.open(str(omol), subdir=False) as database,
        database.begin() as transaction,
    ):
        content = json.loads(zlib.decompress(transaction.get(b"1")))
    content["data"] = json.dumps(content["data"])
    change(omol, 1, zlib.compress(json.dumps(content).encode()))
    row = read_rows(omol)[0]
    assert row.total_charge == -1.0
    np.testing.assert_allclose(row.charges, np.linspace(-0.2, 0.2, 5))


def test_truncated_and_other_lmdb_files_are_rejected(omol, tmp_path):
    content = omol.read_bytes()
    for length in (0, 100, 5000, len(content) - 1):
        cut = tmp_path / "cut.aselmdb"
        cut.write_bytes(content[:length])
        with pytest.raises(BenchError, match="truncated|not an LMDB file|is empty"):
            read_rows(cut)
    other = tmp_path / "other.aselmdb"
    with (
        lmdb.open(str(other), subdir=False) as database,
        database.begin(write=True) as transaction,
    ):
        transaction.put(b"key", b"value")
    with pytest.raises(BenchError, match="no row `nextid`"):
        read_rows(other)
