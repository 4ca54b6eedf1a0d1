"""Extended XYZ and formats of ASE."""

import gzip
import lzma
import re

import ase.db
import ase.io
import numpy as np
import pytest
from ase import units
from bench.dataset.parts import row_ranges_of
from bench.exceptions import BenchError
from bench.sources import ReadOptions, Rejected, RowRange, open_source


def read_rows(path, format=None, units=(), **keys):
    source = open_source(
        str(path), ReadOptions(keys=keys, format=format, **dict(units))
    )
    return [row for part in source.row_ranges() for row in source.rows(part)]


@pytest.fixture
def frames(toy_structure):
    return [toy_structure(i, periodic=i % 2 == 0) for i in range(7)]


@pytest.fixture
def file(tmp_path, frames):
    path = tmp_path / "frames.xyz"
    ase.io.write(path, frames, format="extxyz")
    return path


def test_rows_agree_with_ase(file):
    rows = read_rows(file)
    for row, atoms in zip(rows, ase.io.iread(file, ":"), strict=True):
        np.testing.assert_array_equal(row.numbers, atoms.numbers)
        np.testing.assert_array_equal(row.positions, atoms.positions)
        np.testing.assert_array_equal(row.forces, atoms.get_forces())
        np.testing.assert_array_equal(row.charges, atoms.get_charges())
        assert row.energy == atoms.get_potential_energy()
        assert (row.cell is not None) == atoms.pbc.all()
        assert (row.id, row.group) == (atoms.info["id"], atoms.info["group"])


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip), (".xz", lzma)])
def test_compressed_files_have_the_same_rows(file, suffix, pack):
    compressed = file.with_name(file.name + suffix)
    compressed.write_bytes(pack.compress(file.read_bytes()))
    assert [r.id for r in read_rows(compressed)] == [r.id for r in read_rows(file)]
    compressed.write_bytes(compressed.read_bytes()[:-40])
    with pytest.raises(BenchError, match="truncated or damaged"):
        read_rows(compressed)


def test_row_ranges_cover_the_file(file, monkeypatch):
    all_ids = [r.id for r in read_rows(file)]
    monkeypatch.setattr("bench.sources.extxyz.ROWS_PER_RANGE", 3)
    source = open_source(str(file), ReadOptions())
    ranges = source.row_ranges()
    assert [(r.start, r.stop) for r in ranges] == [(0, 3), (3, 6), (6, -1)]
    # Each range is read without the others.
    assert [r.id for r in source.rows(ranges[1])] == all_ids[3:6]
    assert [r.id for r in read_rows(file)] == all_ids


def test_keys_and_units_can_be_given(tmp_path, frames):
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
    keys = dict(energy="E", forces="force", id="name", total_charge="chargeA+chargeB")
    given = dict(energy_unit="hartree", length_unit="bohr")
    rows = read_rows(path, units=given, **keys)
    for row, atoms in zip(rows, frames, strict=False):
        assert row.id == row.group == atoms.info["id"]
        assert row.total_charge == 1.0
        np.testing.assert_allclose(row.energy, atoms.get_potential_energy(), rtol=1e-7)
        np.testing.assert_allclose(row.forces, atoms.get_forces(), atol=1e-6)
        np.testing.assert_allclose(row.positions, atoms.positions, atol=1e-6)
    # Without a given key, `force` is not read as forces.
    assert all(row.forces is None and row.energy is None for row in read_rows(path))
    assert "force" in read_rows(path)[0].available_keys
    with pytest.raises(ValueError, match="energy_unit\n.*'hartree'"):
        ReadOptions(energy_unit="Hartree")


@pytest.mark.parametrize(
    "text", ["01.001_080", "007", "1e5", "T", "nan", "1 2", "1_0", "[1, 2]", 'a"1']
)
def test_ids_and_groups_that_look_like_numbers_remain_strings(text, tmp_path):
    path = tmp_path / "a.xyz"
    word = '"' + text.replace('"', '\\"') + '"'
    lines = [f"note='id=5 \"group=6' id = {word} group={word} energy=-1.0", "H 0 0 0"]
    path.write_text("\n".join(["1", *lines, ""]))
    (row,) = read_rows(path)
    assert (row.id, row.group, row.energy) == (text, text, -1.0)
    path.write_text(path.read_text().replace("id =", "name=").replace("group=", "of="))
    (row,) = read_rows(path, id="name", group="of")
    assert (row.id, row.group) == (text, text)


def test_frames_without_ids_are_numbered(tmp_path, frames):
    for name in ("a", "b"):
        for atoms in frames:
            atoms.info = {}
        ase.io.write(tmp_path / f"{name}.xyz", frames[:2], format="extxyz")
    assert [r.id for r in read_rows(tmp_path / "a.xyz")] == ["0000000", "0000001"]
    both = read_rows(tmp_path)
    assert [r.id for r in both] == [f"{n}/000000{i}" for n in "ab" for i in (0, 1)]
    assert [r.id for r in read_rows(tmp_path / "*.xyz")] == [r.id for r in both]


def rows_of_changed(file, tmp_path, change):
    """Reads the file with changed lines; frame 1 begins at line 8, with five atoms."""
    lines = file.read_text().splitlines(keepends=True)
    changed = tmp_path / "changed.xyz"
    changed.write_text("".join(change(lines)))
    return read_rows(changed)


@pytest.mark.parametrize(
    ("number", "text", "reason"),
    [
        (10, "C 1.0 2.0\n", "3 columns, 8 are announced"),
        (10, "C 1 2 nan 0 0 0 0\n", "position of atom 0 is not finite"),
        (10, "Qq 1 2 3 0 0 0 0\n", "Qq"),
        (9, "Properties=species:S:1:pos:R:3:forces:R:3:q:R:1 energy=none\n", "energy"),
        (9, "Properties=species:S:1:pos:R:99999999\n", "8 columns, 100000000 are"),
        (9, "Properties=species:S:1:pos:R:9999999999\n", "announced as"),
    ],
)
def test_invalid_frame_is_rejected_and_the_others_are_read(
    file, tmp_path, number, text, reason
):
    change = lambda lines: [*lines[: number - 1], text, *lines[number:]]
    rows = rows_of_changed(file, tmp_path, change)
    bad = [r for r in rows if isinstance(r, Rejected)]
    assert len(rows) == 7 and len(bad) == 1
    assert bad[0].location.startswith("Frame 1 of ")
    assert re.search(reason, bad[0].reason), bad[0].reason


def test_truncated_frame_is_rejected(file, tmp_path):
    rows = rows_of_changed(file, tmp_path, lambda lines: lines[:-2])
    assert isinstance(rows[-1], Rejected)
    assert rows[-1].reason == "it ends after 3 of 5 atoms"
    assert len(rows) == 7


def test_missing_line_is_reported_at_the_next_frame(file, tmp_path):
    with pytest.raises(BenchError, match="frame 2 should begin .* got b'"):
        rows_of_changed(file, tmp_path, lambda lines: lines[:9] + lines[10:])


def test_implausible_number_of_atoms_is_rejected(file, tmp_path):
    """A damaged digit must not make the rest of a large file one frame."""
    change = lambda lines: [*lines[:7], "500000000\n", *lines[8:]]
    with pytest.raises(BenchError, match="frame 1 should begin .* got b'500000000"):
        rows_of_changed(file, tmp_path, change)


def test_ase_trajectory_is_read(tmp_path, frames):
    path = tmp_path / "run.traj"
    ase.io.write(path, frames)
    rows = read_rows(path)
    assert [r.energy for r in rows] == [a.get_potential_energy() for a in frames]
    assert {r.group for r in rows} == {"g0", "g1", "g2", "g3"}
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BenchError, match="cannot be read as traj from frame 0"):
        read_rows(path)


def test_ase_database_is_read(tmp_path, frames):
    path = tmp_path / "rows.db"
    with ase.db.connect(path) as database:
        for i, atoms in enumerate(frames):
            pairs = {"net": i - 3, "family": f"f{i % 2}"}
            database.write(atoms, pairs, data={"mulliken": np.arange(5.0) * i})
        database.delete([3])
    rows = read_rows(path, total_charge="net", group="family", charges="mulliken")
    remaining = [i for i in range(7) if i != 2]
    assert [r.id for r in rows] == [f"rows/{i + 1:07d}" for i in remaining]
    for i, row in zip(remaining, rows, strict=True):
        assert row.energy == frames[i].get_potential_energy()
        np.testing.assert_array_equal(row.forces, frames[i].get_forces())
        np.testing.assert_array_equal(row.charges, np.arange(5.0) * i)
        assert (row.total_charge, row.group) == (i - 3, f"f{i % 2}")
        assert (row.cell is not None) == frames[i].pbc.all()
    source = open_source(str(path), ReadOptions())
    parts = [RowRange(str(path), 0, 2), RowRange(str(path), 2, 6)]
    ids = [r.id for part in parts for r in source.rows(part)]
    assert ids == [r.id for r in read_rows(path)]
    for content in (b"S", b""):
        path.write_bytes(content)
        with pytest.raises(BenchError, match=r"no table of systems|is empty"):
            read_rows(path)
        assert path.read_bytes() == content
    path.write_bytes(b"no database" * 100)
    with pytest.raises(BenchError, match="cannot be read as db .*not a database"):
        row_ranges_of(open_source(str(path), ReadOptions()))


def test_format_option_selects_a_reader(tmp_path):
    """A gradient file of Turbomole in bohr and hartree."""
    (tmp_path / "gradient").write_text(
        "$grad          cartesian gradients\n"
        "  cycle =      1    SCF energy =    -1.1000000000   |dE/dxyz| =  0.100000\n"
        "    0.0   0.0   0.0      h\n    0.0   0.0   1.5      h\n"
        "  0.0D+00  0.0D+00  -0.1D+00\n  0.0D+00  0.0D+00  0.1D+00\n$end\n"
    )
    (row,) = read_rows(tmp_path / "gradient", format="turbomole-gradient")
    assert row.energy == pytest.approx(-1.1 * units.Hartree)
    assert row.positions[1, 2] == pytest.approx(1.5 * units.Bohr)
    assert row.forces[0, 2] == pytest.approx(0.1 * units.Hartree / units.Bohr)


def test_formats_that_execute_or_unpickle_are_not_supported(tmp_path, file):
    with pytest.raises(BenchError, match="no format 'bundletrajectory'"):
        read_rows(file, format="bundletrajectory")
    strange = tmp_path / "data.pkl"
    strange.write_bytes(b"cposix\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(BenchError, match="does not match a format"):
        read_rows(strange)


def test_missing_files_and_mixed_formats_are_errors(tmp_path, file, frames):
    with pytest.raises(BenchError, match="There is no data set"):
        read_rows(tmp_path / "none.xyz")
    with pytest.raises(BenchError, match="There is no data set"):
        read_rows(tmp_path / "*.nothing")
    for name, page in (
        ("qmof_database", "QMOF is at https://doi.org/10.6084/m9.figshare.13147324"),
        ("train_4M", r"OMol25 is at https://huggingface.co/facebook/OMol25 \(CC BY"),
        ("odac25/mof", "ODAC25 is at https://huggingface.co/facebook/ODAC25"),
    ):
        with pytest.raises(BenchError, match=page):
            read_rows(name)
    ase.io.write(tmp_path / "run.traj", frames)
    with pytest.raises(BenchError, match=r"several formats \(extxyz, traj\)"):
        read_rows(tmp_path)
    empty = tmp_path / "folder"
    empty.mkdir()
    with pytest.raises(BenchError, match="holds no file of a known format"):
        read_rows(empty)
