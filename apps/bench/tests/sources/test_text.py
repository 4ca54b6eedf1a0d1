"""Extended XYZ and the other formats of ASE."""

import gzip
import lzma
import re

import ase.db
import ase.io
import numpy as np
import pytest
from ase import units
from bench.dataset.parts import units_of
from bench.exceptions import BenchError
from bench.sources import Reading, Rejected, Unit, open_source


def rows_of(path, format=None, **names):
    source = open_source(str(path), Reading(**names), format)
    return [row for unit in source.units() for row in source.rows(unit)]


@pytest.fixture
def frames(springs):
    return [springs(i, periodic=i % 2 == 0) for i in range(7)]


@pytest.fixture
def file(tmp_path, frames):
    path = tmp_path / "frames.xyz"
    ase.io.write(path, frames, format="extxyz")
    return path


def test_rows_are_those_that_ase_reads(file):
    rows = rows_of(file)
    for mine, theirs in zip(rows, ase.io.iread(file, ":"), strict=True):
        np.testing.assert_array_equal(mine.numbers, theirs.numbers)
        np.testing.assert_array_equal(mine.positions, theirs.positions)
        np.testing.assert_array_equal(mine.forces, theirs.get_forces())
        np.testing.assert_array_equal(mine.charges, theirs.get_charges())
        assert mine.energy == theirs.get_potential_energy()
        assert (mine.cell is not None) == theirs.pbc.all()
        assert (mine.id, mine.group) == (theirs.info["id"], theirs.info["group"])


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip), (".xz", lzma)])
def test_packed_files_hold_the_same(file, suffix, pack):
    packed = file.with_name(file.name + suffix)
    packed.write_bytes(pack.compress(file.read_bytes()))
    assert [r.id for r in rows_of(packed)] == [r.id for r in rows_of(file)]
    packed.write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(BenchError, match="truncated or damaged"):
        rows_of(packed)


def test_stretches_together_are_the_file(file, monkeypatch):
    whole = [r.id for r in rows_of(file)]
    monkeypatch.setattr("bench.sources.extxyz.BLOCK", 3)
    source = open_source(str(file), Reading())
    units = source.units()
    assert [(u.start, u.stop) for u in units] == [(0, 3), (3, 6), (6, -1)]
    # Any one of them is read without the others.
    assert [r.id for r in source.rows(units[1])] == whole[3:6]
    assert [r.id for r in rows_of(file)] == whole


def test_names_and_units_can_be_given(tmp_path, frames):
    path = tmp_path / "named.extxyz"
    written = []
    for atoms in frames[:2]:
        plain = ase.Atoms(atoms.numbers, atoms.positions / units.Bohr)
        plain.arrays["force"] = atoms.get_forces() / units.Hartree * units.Bohr
        plain.info = {
            "E": atoms.get_potential_energy() / units.Hartree,
            "chargeA": 2,
            "chargeB": -1,
            "name": atoms.info["id"],
        }
        written.append(plain)
    ase.io.write(path, written, format="extxyz")
    names = dict(energy="E", forces="force", id="name", total_charge="chargeA+chargeB")
    rows = rows_of(path, **names, energy_unit="hartree", length_unit="bohr")
    for row, atoms in zip(rows, frames, strict=False):
        assert row.id == row.group == atoms.info["id"]
        assert row.total_charge == 1.0
        np.testing.assert_allclose(row.energy, atoms.get_potential_energy(), rtol=1e-7)
        np.testing.assert_allclose(row.forces, atoms.get_forces(), atol=1e-6)
        np.testing.assert_allclose(row.positions, atoms.positions, atol=1e-6)
    # Nothing is guessed: without being told, a singular `force` is no label.
    assert all(row.forces is None and row.energy is None for row in rows_of(path))
    assert "force" in rows_of(path)[0].names
    with pytest.raises(BenchError, match="no unit 'Hartree'; did you mean 'hartree'"):
        Reading(energy_unit="Hartree")


@pytest.mark.parametrize(
    "text", ["01.001_080", "007", "1e5", "T", "nan", "1 2", "1_0", "[1, 2]", 'a"1']
)
def test_ids_and_groups_are_words_also_where_they_look_like_numbers(text, tmp_path):
    path = tmp_path / "a.xyz"
    word = '"' + text.replace('"', '\\"') + '"'
    lines = [f"note='id=5 \"group=6' id = {word} group={word} energy=-1.0", "H 0 0 0"]
    path.write_text("\n".join(["1", *lines, ""]))
    (row,) = rows_of(path)
    assert (row.id, row.group, row.energy) == (text, text, -1.0)
    path.write_text(path.read_text().replace("id =", "name=").replace("group=", "of="))
    (row,) = rows_of(path, id="name", group="of")
    assert (row.id, row.group) == (text, text)


def test_frames_without_names_are_numbered(tmp_path, frames):
    for name in ("a", "b"):
        for atoms in frames:
            atoms.info = {}
        ase.io.write(tmp_path / f"{name}.xyz", frames[:2], format="extxyz")
    assert [r.id for r in rows_of(tmp_path / "a.xyz")] == ["0000000", "0000001"]
    both = rows_of(tmp_path)
    assert [r.id for r in both] == [f"{n}/000000{i}" for n in "ab" for i in (0, 1)]
    assert [r.id for r in rows_of(tmp_path / "*.xyz")] == [r.id for r in both]


def lines_of(file, tmp_path, change):
    """The file with lines changed: frame 1 begins with line 8, five atoms each."""
    lines = file.read_text().splitlines(keepends=True)
    changed = tmp_path / "changed.xyz"
    changed.write_text("".join(change(lines)))
    return rows_of(changed)


@pytest.mark.parametrize(
    ("number", "text", "why"),
    [
        (10, "C 1.0 2.0\n", "3 columns, 8 are announced"),
        (10, "C 1 2 nan 0 0 0 0\n", "position of atom 0 is not finite"),
        (10, "Qq 1 2 3 0 0 0 0\n", "Qq"),
        (9, "Properties=species:S:1:pos:R:3:forces:R:3:q:R:1 energy=none\n", "energy"),
        (9, "Properties=species:S:1:pos:R:99999999\n", "8 columns, 100000000 are"),
        (9, "Properties=species:S:1:pos:R:9999999999\n", "announced as"),
    ],
)
def test_a_bad_frame_is_named_and_the_others_read(file, tmp_path, number, text, why):
    change = lambda lines: [*lines[: number - 1], text, *lines[number:]]
    rows = lines_of(file, tmp_path, change)
    bad = [r for r in rows if isinstance(r, Rejected)]
    assert len(rows) == 7 and len(bad) == 1
    assert bad[0].where.startswith("Frame 1 of ")
    assert re.search(why, bad[0].why), bad[0].why


def test_a_cut_frame_is_named(file, tmp_path):
    rows = lines_of(file, tmp_path, lambda lines: lines[:-2])
    assert isinstance(rows[-1], Rejected)
    assert rows[-1].why == "it ends after 3 of 5 atoms"
    assert len(rows) == 7


def test_a_lost_line_is_found_where_it_shows(file, tmp_path):
    with pytest.raises(BenchError, match="where frame 2 should begin .* stands b'"):
        lines_of(file, tmp_path, lambda lines: lines[:9] + lines[10:])


def test_a_number_of_atoms_that_cannot_be_is_refused(file, tmp_path):
    """A damaged digit must not have the rest of a large file read as one frame."""
    change = lambda lines: [*lines[:7], "500000000\n", *lines[8:]]
    with pytest.raises(BenchError, match="where frame 1 should begin .* b'500000000"):
        lines_of(file, tmp_path, change)


def test_a_trajectory_of_ase_is_read(tmp_path, frames):
    path = tmp_path / "run.traj"
    ase.io.write(path, frames)
    rows = rows_of(path)
    assert [r.energy for r in rows] == [a.get_potential_energy() for a in frames]
    assert {r.group for r in rows} == {"g0", "g1", "g2", "g3"}
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BenchError, match="cannot be read as traj from frame 0"):
        rows_of(path)


def test_a_database_of_ase_is_read(tmp_path, frames):
    path = tmp_path / "rows.db"
    with ase.db.connect(path) as database:
        for i, atoms in enumerate(frames):
            facts = {"net": i - 3, "family": f"f{i % 2}"}
            database.write(atoms, facts, data={"mulliken": np.arange(5.0) * i})
        database.delete([3])
    rows = rows_of(path, total_charge="net", group="family", charges="mulliken")
    kept = [i for i in range(7) if i != 2]
    assert [r.id for r in rows] == [f"rows/{i + 1:07d}" for i in kept]
    for i, row in zip(kept, rows, strict=True):
        assert row.energy == frames[i].get_potential_energy()
        np.testing.assert_array_equal(row.forces, frames[i].get_forces())
        np.testing.assert_array_equal(row.charges, np.arange(5.0) * i)
        assert (row.total_charge, row.group) == (i - 3, f"f{i % 2}")
        assert (row.cell is not None) == frames[i].pbc.all()
    source = open_source(str(path), Reading())
    parts = [Unit(str(path), 0, 2), Unit(str(path), 2, 6)]
    ids = [r.id for unit in parts for r in source.rows(unit)]
    assert ids == [r.id for r in rows_of(path)]
    for nothing in (b"S", b""):
        path.write_bytes(nothing)
        with pytest.raises(BenchError, match=r"no table of systems|is empty"):
            rows_of(path)
        assert path.read_bytes() == nothing
    path.write_bytes(b"no database" * 100)
    with pytest.raises(BenchError, match="cannot be read as db .*not a database"):
        units_of(open_source(str(path), Reading()))


def test_formats_without_a_suffix_of_their_own_are_named(tmp_path):
    """A gradient file of Turbomole in bohr and hartree, written by hand."""
    (tmp_path / "gradient").write_text(
        "$grad          cartesian gradients\n"
        "  cycle =      1    SCF energy =    -1.1000000000   |dE/dxyz| =  0.100000\n"
        "    0.0   0.0   0.0      h\n    0.0   0.0   1.5      h\n"
        "  0.0D+00  0.0D+00  -0.1D+00\n  0.0D+00  0.0D+00  0.1D+00\n$end\n"
    )
    (row,) = rows_of(tmp_path / "gradient", format="turbomole-gradient")
    assert row.energy == pytest.approx(-1.1 * units.Hartree)
    assert row.positions[1, 2] == pytest.approx(1.5 * units.Bohr)
    assert row.forces[0, 2] == pytest.approx(0.1 * units.Hartree / units.Bohr)


def test_formats_that_run_or_unpickle_are_not_known(tmp_path, file):
    with pytest.raises(BenchError, match="no format 'bundletrajectory'"):
        rows_of(file, format="bundletrajectory")
    strange = tmp_path / "data.pkl"
    strange.write_bytes(b"cposix\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(BenchError, match="name that tells no format"):
        rows_of(strange)


def test_what_is_not_there_or_mixed_is_said(tmp_path, file, frames):
    with pytest.raises(BenchError, match="There is no data set"):
        rows_of(tmp_path / "none.xyz")
    with pytest.raises(BenchError, match="There is no data set"):
        rows_of(tmp_path / "*.nothing")
    for name, page in (
        ("qmof_database", "QMOF is at https://doi.org/10.6084/m9.figshare.13147324"),
        ("train_4M", r"OMol25 is at https://huggingface.co/facebook/OMol25 \(CC BY"),
        ("odac25/mof", "ODAC25 is at https://huggingface.co/facebook/ODAC25"),
    ):
        with pytest.raises(BenchError, match=page):
            rows_of(name)
    ase.io.write(tmp_path / "run.traj", frames)
    with pytest.raises(BenchError, match=r"several formats \(extxyz, traj\)"):
        rows_of(tmp_path)
    empty = tmp_path / "folder"
    empty.mkdir()
    with pytest.raises(BenchError, match="holds no file of a known format"):
        rows_of(empty)
