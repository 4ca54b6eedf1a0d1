"""Files that exceed size limits or refer to other files are rejected."""

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
from bench.sources import ReadOptions, Rejected, open_source

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


def read_rows(path, format=None):
    source = open_source(str(path), ReadOptions(format=format))
    return [row for part in source.row_ranges() for row in source.rows(part)]


def error_message(path, format=None):
    """Returns the error message of a file; asserts that little memory is used."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BenchError) as caught:
        read_rows(path, format)
    message = str(caught.value)
    assert str(path) in message and message.endswith(".") and "\n" not in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    return message


def write_rows(path, **rows):
    with (
        lmdb.open(str(path), subdir=False, map_size=1 << 24) as database,
        database.begin(write=True) as view,
    ):
        for key, text in rows.items():
            view.put(key.encode(), zlib.compress(text.encode()))


def test_database_with_missing_rows(tmp_path, toy_structure):
    path = tmp_path / "a.aselmdb"
    with ase.db.connect(path, type="aselmdb") as database:
        for i in range(3):
            database.write(toy_structure(i))
    write_rows(path, nextid="6")
    rows = read_rows(path)
    assert [isinstance(row, Rejected) for row in rows] == [False] * 3 + [True] * 2
    assert "missing" in rows[3].reason and "Row 4 of" in rows[3].location
    write_rows(path, nextid=str(10**15))
    assert (
        "announces 999999999999999 rows (its row `nextid`), but holds"
        in error_message(path)
    )


@pytest.mark.parametrize(
    ("shape", "chunks"), [((2**40, 3, 3), (99, 3, 3)), ((2**40, 0, 3), None)]
)
def test_unwritten_hdf5_arrays_are_rejected(tmp_path, shape, chunks):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("set/positions", shape, "f8", chunks=chunks)
        file["set/numbers"] = np.ones(3, int)
    assert path.stat().st_size < 10_000
    message = error_message(path)
    assert "/set/positions" in message and "0 bytes of it were written" in message


@pytest.fixture
def low_limit(monkeypatch):
    """A limit that a file of some kilobytes can exceed."""
    monkeypatch.setattr("bench.sources.decompression.ALWAYS_ALLOWED", 1 << 20)


def test_hdf5_arrays_that_decompress_to_too_much_are_rejected(tmp_path, low_limit):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "coord", data=np.zeros((100_000, 10, 3)), chunks=True, compression="gzip"
        )
        file["numbers"] = np.ones(10, int)
    assert "group / takes 22 MiB or more decompressed" in error_message(path)


def test_oversized_hdf5_chunks_are_rejected(tmp_path, low_limit):
    path = tmp_path / "a.h5"
    compressed = zlib.compress(bytes(30 << 20), 9)
    rows = len(compressed) // 24 + 10  # a size at which the chunk is hardly compressed
    shape = (rows, 1, 3)
    with h5py.File(path, "w") as file:
        options = {"chunks": shape, "compression": "gzip", "fletcher32": True}
        file["numbers"] = np.ones(1, int)
        fine = np.random.default_rng(0).normal(size=shape)
        file.create_dataset("coord", data=fine, **options)
    assert len(read_rows(path)) == rows
    with h5py.File(path, "a") as file:
        bomb = file.create_dataset("forces", shape, "f8", **options)
        bomb.id.write_direct_chunk((0, 0, 0), compressed + bytes(4))
    assert "a chunk of its dataset /forces decompresses to more than" in error_message(
        path
    )


def test_hard_links_to_one_array_count_each_time(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["0/coord"] = np.zeros((100_000, 1, 3))
        for i in range(1, 500):
            file[f"{i}/coord"] = file["0/coord"]
    assert "up to group" in error_message(path)


def npy(shape, content=b"", kind="<f8"):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}\n"
    return (
        b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    ) + content


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        ((2**40, 1, 3), "announces 26388279066624 bytes of numbers, but has 24"),
        ((2**40, 0, 3), "the limit is 256 MiB plus 200 times the file"),
    ],
)
def test_npz_headers_must_agree_with_sizes(tmp_path, positions, reason):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("numbers.npy", npy((1,), bytes(8), "<i8"))
        content = bytes(24) if positions[1] else b""
        archive.writestr("positions.npy", npy(positions, content))
    assert reason in error_message(path)


def test_npz_that_decompresses_to_too_much_is_rejected(tmp_path, low_limit):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, numbers=np.ones(1), positions=np.zeros((1 << 18, 1, 3)))
    assert "positions.npy takes 6 MiB or more decompressed" in error_message(path)


def test_deepmd_arrays_of_empty_rows_are_rejected(tmp_path):
    directory = tmp_path / "set.000"
    directory.mkdir()
    (directory / "coord.npy").write_bytes(npy((2**40, 0)))
    message = error_message(tmp_path)
    assert "announces 1099511627776 structures, more than 1000000000" in message


def test_zip_of_cifs_that_decompresses_to_too_much_is_rejected(tmp_path, low_limit):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(10):
            archive.writestr(f"{i}.cif", bytes(1 << 20))
    assert "the total of its CIFs takes 10 MiB" in error_message(path)


COMPRESSED_TEXTS = {
    "frames": b"1\n" + b"x" * 5000 + b"\nH 0 0 0\n",
    "blank": b"\n",
    "comment": b"1\n" + b" " * (1 << 22),
}


@pytest.mark.parametrize("kind", COMPRESSED_TEXTS)
def test_text_that_decompresses_to_too_much_is_rejected(tmp_path, low_limit, kind):
    path = tmp_path / "a.xyz.xz"
    unit = COMPRESSED_TEXTS[kind]
    path.write_bytes(lzma.compress(unit * (1 + (1 << 21) // len(unit))))
    message = error_message(path)
    if kind == "blank":
        assert "frame 0 should begin" in message
    else:
        assert "200 times the file" in message


def test_long_line_rejects_only_its_frame(tmp_path):
    path = tmp_path / "a.xyz"
    with path.open("wb") as file:
        file.write(XYZ + b"1\nenergy=-2.0 note=")
        file.seek(100 << 20, os.SEEK_CUR)  # a sparse region without disk blocks
        file.write(b"\nH 0 0 0\n" + XYZ)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first, second, third = read_rows(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert second == (f"Frame 1 of {path}", "it has a line of more than 1 MiB")
    assert first.energy == third.energy == -1.0


def test_other_compressed_formats_have_the_same_limit(tmp_path, low_limit):
    path = tmp_path / "OUTCAR.gz"
    path.write_bytes(gzip.compress(bytes(1 << 23)))
    assert "or more decompressed" in error_message(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "or more decompressed" in error_message(path)
    path.write_bytes(gzip.compress(b"no run of VASP")[:-6])
    assert "truncated or damaged" in error_message(path)


@pytest.mark.parametrize(
    "declared",
    [
        "<!ENTITY far SYSTEM 'file:///etc/hostname'>",
        "<!ENTITY % x 'y'>",
        "<!ENTITY a 'b'>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_with_entities_is_rejected(tmp_path, declared, encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    text += f"<!DOCTYPE modeling [{declared}]>\n<modeling>&a;</modeling>"
    for path in (tmp_path / "vasprun.xml", tmp_path / "vasprun.xml.gz"):
        content = text.encode(encoding)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        assert "declares the entity" in error_message(path)
    named = (tmp_path / "vasprun.xml").rename(tmp_path / "vasp_output")
    assert "declares the entity" in error_message(named, "vasp-xml")


def test_database_with_views_is_rejected(tmp_path, toy_structure):
    path = tmp_path / "a.db"
    with ase.db.connect(path) as database:
        database.write(toy_structure(0))
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE systems RENAME TO renamed")
        database.execute(
            "CREATE VIEW systems AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
            "SELECT i + 1 FROM n) SELECT renamed.* FROM renamed, n"
        )
    assert "systems in it is a view" in error_message(path)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "set"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.xyz").write_bytes(XYZ)
    (tmp_path / "secret.xyz").write_bytes(XYZ)
    return folder


@pytest.mark.parametrize(
    ("link", "target", "reason"),
    [
        ("deep/b.xyz", "../../secret.xyz", "leaves"),
        ("deep/b", "../..", "leaves"),
        ("notes", "/", "leaves"),
        ("b.xyz", "nothing.xyz", "to nothing"),
        ("b.xyz", "b.xyz", "to itself"),
    ],
)
def test_links_out_of_a_folder_are_rejected(folder, link, target, reason):
    (folder / link).symlink_to(target)
    assert (
        f"{folder / link} is a link " in (message := error_message(folder))
        and reason in message
    )


def test_linked_files_are_read_once(folder):
    (folder / "again.xyz").symlink_to("deep/a.xyz")
    (folder / "loop").symlink_to(".")
    (folder / "deep" / "frames.txt").write_bytes(XYZ)
    (folder / "other.xyz").symlink_to("deep/frames.txt")
    linked = folder.parent / "linked"
    linked.symlink_to(folder)
    for source in (folder, linked):
        files = open_source(str(source), ReadOptions()).files
        assert [f.relative_to(source).name for f in files] == ["a.xyz", "other.xyz"]
    # A link given by its path is read, wherever it points.
    (folder / "b.xyz").symlink_to(folder.parent / "secret.xyz")
    assert len(read_rows(folder / "b.xyz")) == 1


def test_encrypted_member_of_a_zip_is_rejected(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.cif", CIF)
        archive.writestr("b.cif", CIF)
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    path.write_bytes(content)
    locked, fine = read_rows(path)
    assert "encrypted" in locked.reason and fine.numbers.tolist() == [30]


def test_oversized_cif_is_not_read_completely(tmp_path):
    path = tmp_path / "a.cif"
    path.write_text(CIF)
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    (row,) = read_rows(path)
    assert "larger than 64 MiB" in row.reason


def requesting_4_gib(compressed):
    """Returns an xz file whose header requests the largest possible dictionary."""
    head = bytes([*compressed[12:16], 40, *compressed[17:20]])
    return (
        compressed[:12]
        + head
        + zlib.crc32(head).to_bytes(4, "little")
        + compressed[24:]
    )


def test_xz_files_that_request_much_memory_are_rejected(tmp_path):
    path = tmp_path / "a.xyz.xz"
    compressed = lzma.compress(XYZ)
    second = requesting_4_gib(lzma.compress(XYZ.replace(b"-1.0", b"-2.0")))
    for content in (requesting_4_gib(compressed), compressed + second):
        path.write_bytes(content)
        assert (
            "according to its header, decompression takes more than 256 MiB"
            in error_message(path)
        )
    xml = tmp_path / "vasprun.xml.xz"
    xml.write_bytes(requesting_4_gib(lzma.compress(b"<modeling></modeling>")))
    assert "takes more than 256 MiB of memory" in error_message(xml)


def test_concatenated_xz_streams_are_one_file(tmp_path):
    path = tmp_path / "a.xyz.xz"
    other = lzma.compress(XYZ.replace(b"-1.0", b"-2.0"), preset=9)
    path.write_bytes(lzma.compress(XYZ) + bytes(8) + other + bytes(200_000))
    assert [row.energy for row in read_rows(path)] == [-1.0, -2.0]
    for damaged in (other[:-5], other + b"behind"):
        path.write_bytes(damaged)
        with pytest.raises(BenchError, match="cannot be decompressed from frame"):
            read_rows(path)
