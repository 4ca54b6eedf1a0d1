"""ASE's own databases, written by ASE and read by both."""

import json
import re
import zlib

import ase.db
import lmdb
import numpy as np
import pytest
from bench.exceptions import BenchError
from bench.sources import Reading, Rejected, open_source


def rows_of(path, **names):
    source = open_source(str(path), Reading(**names))
    return [row for unit in source.units() for row in source.rows(unit)]


@pytest.fixture
def omol(tmp_path, springs):
    """Rows as OMol25 keeps them: two molecules in steps, two conformers."""
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
            database.write(springs(i), data=data)
    return path


def test_rows_are_those_that_ase_reads(omol):
    rows = rows_of(omol)
    with ase.db.connect(omol, type="aselmdb", readonly=True) as database:
        for mine, theirs in zip(rows, database.select(), strict=True):
            np.testing.assert_array_equal(mine.numbers, theirs.numbers)
            np.testing.assert_array_equal(mine.positions, theirs.positions)
            np.testing.assert_array_equal(mine.forces, theirs.forces)
            assert mine.energy == theirs.energy
            assert mine.cell is None
            np.testing.assert_allclose(mine.charges, theirs.data["lowdin_charges"])
            assert mine.total_charge == theirs.data["charge"]
            assert mine.spin == theirs.data["spin"]


def test_steps_share_a_molecule_and_conformers_a_composition(omol):
    rows = rows_of(omol)
    root = "omol/metal_organics/outputs_low_spin_241118/7_1_-1_1"
    assert [r.id for r in rows[:2]] == [f"{root}/step0", f"{root}/step4"]
    assert [r.group for r in rows] == [root] * 2 + ["ani2x/C2H2O1"] * 2


def test_other_charges_and_groups_can_be_asked_for(omol):
    rows = rows_of(omol, charges="nbo_charges", group="data_id")
    assert rows[3].group == "ani2x"
    np.testing.assert_allclose(rows[3].charges, 0.3)
    assert all(row.charges is None for row in rows_of(omol, charges="ddec"))


def test_frames_of_odac_belong_to_their_mof(tmp_path, springs):
    path = tmp_path / "part.aselmdb"
    with ase.db.connect(path, type="aselmdb") as database:
        atoms = springs(1, periodic=True)
        atoms.set_tags([0, 0, 0, 1, 1])
        del atoms.calc.results["charges"]
        facts = {"sid": 3, "fid": 14, "name": "ABCDEF_CO2", "mof_name": "ABCDEF"}
        database.write(atoms, data=facts)
    (row,) = rows_of(path)
    assert (row.id, row.group) == ("ABCDEF_CO2/3/14", "ABCDEF")
    assert row.tags.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_array_equal(row.cell, atoms.cell.array)
    assert row.charges is None and row.total_charge is None


def test_deleted_rows_are_gone(omol):
    with ase.db.connect(omol, type="aselmdb") as database:
        database.delete([2])
    assert [r.id[-5:] for r in rows_of(omol)] == ["step0", "1_0_1", "2_0_1"]


def change(path, number, blob):
    with (
        lmdb.open(str(path), subdir=False, map_size=1 << 24) as database,
        database.begin(write=True) as view,
    ):
        view.put(str(number).encode(), blob)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no zlib at all", "cannot be unpacked"),
        (zlib.compress(b'{"numbers": [1'), "Expecting"),
        (zlib.compress(b"[1, 2]"), "no names and values"),
        (zlib.compress(b'{"numbers": [1]}'), "positions"),
        (zlib.compress(b'{"numbers": [500], "positions": [[0,0,0]]}'), "1 and 118"),
        (zlib.compress(b'{"numbers": [1], "positions": [[0,0,NaN]]}'), "not finite"),
        (zlib.compress(b"{}" * 3)[:-3], "cut off|Extra"),
        (zlib.compress(b"[" * 100_000), "recursion"),
        (
            zlib.compress(
                b'{"numbers": {"__ndarray__": [[1], "object", [1]]}, "positions": 1}'
            ),
            "type 'object'",
        ),
    ],
)
def test_a_bad_row_is_named_and_the_others_read(omol, content, why):
    change(omol, 2, content)
    rows = rows_of(omol)
    assert len(rows) == 4
    bad = [r for r in rows if isinstance(r, Rejected)]
    assert len(bad) == 1 and bad[0].where == f"Row 2 of {omol}"
    assert re.search(why, bad[0].why), bad[0].why


def test_a_row_that_grows_without_end_is_refused(omol, monkeypatch):
    monkeypatch.setattr("bench.sources.aselmdb.LARGEST_ROW", 1 << 20)
    change(omol, 2, zlib.compress(b" " * (1 << 21) + b"{}"))
    assert "larger than 1 MiB" in rows_of(omol)[1].why


def test_data_may_be_json_within_json(omol):
    with lmdb.open(str(omol), subdir=False) as database, database.begin() as view:
        content = json.loads(zlib.decompress(view.get(b"1")))
    content["data"] = json.dumps(content["data"])
    change(omol, 1, zlib.compress(json.dumps(content).encode()))
    row = rows_of(omol)[0]
    assert row.total_charge == -1.0
    np.testing.assert_allclose(row.charges, np.linspace(-0.2, 0.2, 5))


def test_truncated_files_and_strangers_are_refused(omol, tmp_path):
    whole = omol.read_bytes()
    for length in (0, 100, 5000, len(whole) - 1):
        cut = tmp_path / "cut.aselmdb"
        cut.write_bytes(whole[:length])
        with pytest.raises(BenchError, match="truncated|not an LMDB file|is empty"):
            rows_of(cut)
    stranger = tmp_path / "stranger.aselmdb"
    with (
        lmdb.open(str(stranger), subdir=False) as database,
        database.begin(write=True) as view,
    ):
        view.put(b"key", b"value")
    with pytest.raises(BenchError, match="no row `nextid`"):
        rows_of(stranger)
