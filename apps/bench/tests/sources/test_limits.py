"""Small files that would fill a machine, or lead out of their folder, are refused."""

import gzip
import lzma
import os
import resource
import sqlite3
import zipfile
import zlib

import ase.db
import h5py
import lmdb
import numpy as np
import pytest
from bench.exceptions import BenchError
from bench.sources import Reading, Rejected, open_source

CIF = """data_x
_cell_length_a 3
_cell_length_b 3
_cell_length_c 3
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Zn1 0 0 0
"""
XYZ = b"1\nenergy=-1.0\nH 0 0 0\n"


def rows_of(path, format=None):
    source = open_source(str(path), Reading(), format)
    return [row for unit in source.units() for row in source.rows(unit)]


def refused(path, format=None):
    """The sentence that refuses a file, and that it took no memory to speak of."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BenchError) as caught:
        rows_of(path, format)
    said = str(caught.value)
    assert str(path) in said and said.endswith(".") and "\n" not in said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    return said


def put(path, **rows):
    with (
        lmdb.open(str(path), subdir=False, map_size=1 << 24) as database,
        database.begin(write=True) as view,
    ):
        for key, text in rows.items():
            view.put(key.encode(), zlib.compress(text.encode()))


def test_a_database_counts_the_rows_that_it_holds(tmp_path, springs):
    path = tmp_path / "a.aselmdb"
    with ase.db.connect(path, type="aselmdb") as database:
        for i in range(3):
            database.write(springs(i))
    put(path, nextid="6")
    whole = rows_of(path)
    assert [isinstance(row, Rejected) for row in whole] == [False] * 3 + [True] * 2
    assert "missing" in whole[3].why and "Row 4 of" in whole[3].where
    put(path, nextid=str(10**15))
    assert "counts 999999999999999 rows (its row `nextid`), but holds" in refused(path)


@pytest.mark.parametrize(
    ("shape", "chunks"), [((2**40, 3, 3), (99, 3, 3)), ((2**40, 0, 3), None)]
)
def test_arrays_of_hdf5_that_were_never_written_are_refused(tmp_path, shape, chunks):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("set/positions", shape, "f8", chunks=chunks)
        file["set/numbers"] = np.ones(3, int)
    assert path.stat().st_size < 10_000
    said = refused(path)
    assert "/set/positions" in said and "0 bytes of it were written" in said


@pytest.fixture
def tight(monkeypatch):
    """Bounds that a file of kilobytes can break."""
    monkeypatch.setattr("bench.sources.limits.ALLOWANCE", 1 << 20)


def test_arrays_of_hdf5_that_unpack_without_end_are_refused(tmp_path, tight):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "coord", data=np.zeros((100_000, 10, 3)), chunks=True, compression="gzip"
        )
        file["numbers"] = np.ones(10, int)
    assert "group / takes 22 MiB or more once unpacked" in refused(path)


def test_chunks_of_hdf5_that_unpack_to_more_than_they_have_are_refused(tmp_path, tight):
    path = tmp_path / "a.h5"
    packed = zlib.compress(bytes(30 << 20), 9)
    rows = len(packed) // 24 + 10  # as if the chunk were hardly compressed
    shape = (rows, 1, 3)
    with h5py.File(path, "w") as file:
        options = {"chunks": shape, "compression": "gzip", "fletcher32": True}
        file["numbers"] = np.ones(1, int)
        fine = np.random.default_rng(0).normal(size=shape)
        file.create_dataset("coord", data=fine, **options)
    assert len(rows_of(path)) == rows
    with h5py.File(path, "a") as file:
        bomb = file.create_dataset("forces", shape, "f8", **options)
        bomb.id.write_direct_chunk((0, 0, 0), packed + bytes(4))
    assert "a chunk of its dataset /forces unpacks to more than" in refused(path)


def test_one_array_under_many_names_counts_each_time(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["0/coord"] = np.zeros((100_000, 1, 3))
        for i in range(1, 500):
            file[f"{i}/coord"] = file["0/coord"]
    assert "up to group" in refused(path)


def npy(shape, content=b"", kind="<f8"):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}\n"
    return (
        b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    ) + content


@pytest.mark.parametrize(
    ("positions", "why"),
    [
        ((2**40, 1, 3), "announces 26388279066624 bytes of numbers, but has 24"),
        ((2**40, 0, 3), "at most 256 MiB and 200 times the file are unpacked"),
    ],
)
def test_arrays_of_npz_are_as_large_as_they_say(tmp_path, positions, why):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("numbers.npy", npy((1,), bytes(8), "<i8"))
        content = bytes(24) if positions[1] else b""
        archive.writestr("positions.npy", npy(positions, content))
    assert why in refused(path)


def test_an_npz_that_unpacks_without_end_is_refused(tmp_path, tight):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, numbers=np.ones(1), positions=np.zeros((1 << 18, 1, 3)))
    assert "positions.npy takes 6 MiB or more once unpacked" in refused(path)


def test_arrays_of_deepmd_have_rows_that_are_not_empty(tmp_path):
    place = tmp_path / "set.000"
    place.mkdir()
    (place / "coord.npy").write_bytes(npy((2**40, 0)))
    said = refused(tmp_path)
    assert "announces 1099511627776 structures, more than 1000000000" in said


def test_a_zip_of_cifs_that_unpacks_without_end_is_refused(tmp_path, tight):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(10):
            archive.writestr(f"{i}.cif", bytes(1 << 20))
    assert "all CIFs in it takes 10 MiB" in refused(path)


PACKED = {
    "frames": b"1\n" + b"x" * 5000 + b"\nH 0 0 0\n",
    "blank": b"\n",
    "comment": b"1\n" + b" " * (1 << 22),
}


@pytest.mark.parametrize("kind", PACKED)
def test_packed_text_that_unpacks_without_end_is_refused(tmp_path, tight, kind):
    path = tmp_path / "a.xyz.xz"
    unit = PACKED[kind]
    path.write_bytes(lzma.compress(unit * (1 + (1 << 21) // len(unit))))
    said = refused(path)
    if kind == "blank":
        assert "where frame 0 should begin" in said
    else:
        assert "200 times the file are unpacked" in said


def test_a_long_line_loses_its_frame_alone(tmp_path):
    path = tmp_path / "a.xyz"
    with path.open("wb") as file:
        file.write(XYZ + b"1\nenergy=-2.0 note=")
        file.seek(100 << 20, os.SEEK_CUR)  # a hole, which takes no place on disk
        file.write(b"\nH 0 0 0\n" + XYZ)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first, second, third = rows_of(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert second == (f"Frame 1 of {path}", "it has a line of more than 1 MiB")
    assert first.energy == third.energy == -1.0


def test_other_packed_formats_have_the_same_bound(tmp_path, tight):
    path = tmp_path / "OUTCAR.gz"
    path.write_bytes(gzip.compress(bytes(1 << 23)))
    assert "once unpacked" in refused(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "once unpacked" in refused(path)
    path.write_bytes(gzip.compress(b"no run of VASP")[:-6])
    assert "truncated or damaged" in refused(path)


@pytest.mark.parametrize(
    "declared",
    [
        "<!ENTITY far SYSTEM 'file:///etc/hostname'>",
        "<!ENTITY % x 'y'>",
        "<!ENTITY a 'b'>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_with_entities_is_refused(tmp_path, declared, encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    text += f"<!DOCTYPE modeling [{declared}]>\n<modeling>&a;</modeling>"
    for path in (tmp_path / "vasprun.xml", tmp_path / "vasprun.xml.gz"):
        content = text.encode(encoding)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        assert "declares the entity" in refused(path)
    named = (tmp_path / "vasprun.xml").rename(tmp_path / "mine")
    assert "declares the entity" in refused(named, "vasp-xml")


def test_a_database_that_computes_its_rows_is_refused(tmp_path, springs):
    path = tmp_path / "a.db"
    with ase.db.connect(path) as database:
        database.write(springs(0))
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE systems RENAME TO kept")
        database.execute(
            "CREATE VIEW systems AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
            "SELECT i + 1 FROM n) SELECT kept.* FROM kept, n"
        )
    assert "systems in it is a view" in refused(path)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "set"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.xyz").write_bytes(XYZ)
    (tmp_path / "secret.xyz").write_bytes(XYZ)
    return folder


@pytest.mark.parametrize(
    ("link", "target", "why"),
    [
        ("deep/b.xyz", "../../secret.xyz", "leaves"),
        ("deep/b", "../..", "leaves"),
        ("notes", "/", "leaves"),
        ("b.xyz", "nothing.xyz", "nowhere"),
        ("b.xyz", "b.xyz", "in a circle"),
    ],
)
def test_links_out_of_a_folder_are_refused(folder, link, target, why):
    (folder / link).symlink_to(target)
    assert (
        f"{folder / link} is a link that" in (said := refused(folder)) and why in said
    )


def test_links_within_a_folder_read_nothing_twice(folder):
    (folder / "again.xyz").symlink_to("deep/a.xyz")
    (folder / "loop").symlink_to(".")
    (folder / "deep" / "frames.txt").write_bytes(XYZ)
    (folder / "other.xyz").symlink_to("deep/frames.txt")
    linked = folder.parent / "linked"
    linked.symlink_to(folder)
    for source in (folder, linked):
        found = open_source(str(source), Reading()).files
        assert [f.relative_to(source).name for f in found] == ["a.xyz", "other.xyz"]
    # A file that is named is read, wherever it lies.
    (folder / "b.xyz").symlink_to(folder.parent / "secret.xyz")
    assert len(rows_of(folder / "b.xyz")) == 1


def test_a_locked_member_of_a_zip_is_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.cif", CIF)
        archive.writestr("b.cif", CIF)
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    path.write_bytes(content)
    locked, fine = rows_of(path)
    assert "encrypted" in locked.why and fine.numbers.tolist() == [30]


def test_a_cif_without_end_is_not_read_to_it(tmp_path):
    path = tmp_path / "a.cif"
    path.write_text(CIF)
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    (row,) = rows_of(path)
    assert "larger than 64 MiB" in row.why


def asking_for_4_gib(packed):
    """The file of one block with the largest dictionary that a head can ask for."""
    head = bytes([*packed[12:16], 40, *packed[17:20]])
    return packed[:12] + head + zlib.crc32(head).to_bytes(4, "little") + packed[24:]


def test_packed_files_that_ask_for_memory_are_refused(tmp_path):
    path = tmp_path / "a.xyz.xz"
    packed = lzma.compress(XYZ)
    second = asking_for_4_gib(lzma.compress(XYZ.replace(b"-1.0", b"-2.0")))
    for content in (asking_for_4_gib(packed), packed + second):
        path.write_bytes(content)
        assert "takes more than 256 MiB of memory, as its head says" in refused(path)
    xml = tmp_path / "vasprun.xml.xz"
    xml.write_bytes(asking_for_4_gib(lzma.compress(b"<modeling></modeling>")))
    assert "takes more than 256 MiB of memory" in refused(xml)


def test_streams_of_xz_behind_one_another_are_one_file(tmp_path):
    path = tmp_path / "a.xyz.xz"
    other = lzma.compress(XYZ.replace(b"-1.0", b"-2.0"), preset=9)
    path.write_bytes(lzma.compress(XYZ) + bytes(8) + other + bytes(200_000))
    assert [row.energy for row in rows_of(path)] == [-1.0, -2.0]
    for damaged in (other[:-5], other + b"behind"):
        path.write_bytes(damaged)
        with pytest.raises(BenchError, match="cannot be unpacked from frame"):
            rows_of(path)
