"""Attacks with damaged structure files."""

import bz2
import gzip
import lzma
import shutil

import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.slow

ATTACKS = []


def attacks(kind):
    """Registers a generator of names and functions that build command lines."""

    def register(generate):
        ATTACKS.extend((kind, name, build) for name, build in generate())
        return generate

    return register


def strict(path):
    """Returns the command line of a strict preparation."""
    return "bench", "prepare", path, "--out", "o", "-o", "strict=true", "--workers", "1"


def changed(source, path, change):
    path.write_bytes(change(source.read_bytes()))
    return strict(path)


def line(number, text):
    """Returns a function that replaces a line of a file, or deletes it (None)."""

    def change(content):
        lines = content.split(b"\n")
        lines[number : number + 1] = [] if text is None else [text]
        return b"\n".join(lines)

    return change


CUTS = {
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "cut": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "ones": lambda content: b"\xff" * len(content),
    "html": lambda content: b"<html><body>404 Not Found</body></html>\n",
    "pointer": lambda content: b"version https://git-lfs.github.com/spec/v1\n",
}


@attacks("extended XYZ")
def extended_xyz():
    changes = {
        "cut": lambda content: b"\n".join(content.split(b"\n")[:10]),
        "count of words": line(0, b"five"),
        "count too small": line(0, b"4"),
        "count too large": line(0, b"6"),
        "count negative": line(0, b"-5"),
        "count without end": line(0, b"9" * 40),
        "count a fraction": line(0, b"5.5"),
        "no count": line(0, None),
        "no such element": line(2, b"Qq 0 0 0 0 0 0 0"),
        "element of digits": line(2, b"0 0 0 0 0 0 0 0"),
        "too few columns": line(2, b"H 0 0"),
        "letters for positions": line(2, b"H a b c 0 0 0 0"),
        "positions that are not finite": line(2, b"H nan 0 0 0 0 0 0"),
        "infinite forces": line(2, b"H 0 0 0 inf 0 0 0"),
        "an atom lost": line(3, None),
        "unclosed quote": line(1, b'Properties=species:S:1:pos:R:3 energy="1'),
        "two columns of positions": line(1, b"Properties=species:S:1:pos:R:2 energy=1"),
        "no type of columns": line(1, b"Properties=species:pos energy=1"),
        "energy of words": line(1, b"Properties=species:S:1:pos:R:3 energy=low"),
    }
    for name, change in (CUTS | changes).items():
        yield (
            name,
            lambda folder, bases, change=change: changed(
                bases.xyz, folder / "a.extxyz", change
            ),
        )


@attacks("packed XYZ")
def packed_xyz():
    packers = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}
    changes = {
        "cut": lambda content: content[:-20],
        "cut early": lambda content: content[:25],
        "zeros inside": lambda content: content[:60] + bytes(60) + content[120:],
        "not packed": lambda content: b"5\n\nH 0 0 0\n",
        "packed nothing": None,
        "packed noise": lambda content: b"\x00\x01\x02" * 99,
    }
    for ending, pack in packers.items():
        for name, change in changes.items():

            def build(folder, bases, ending=ending, pack=pack, change=change):
                path, whole = folder / f"a.extxyz.{ending}", bases.xyz.read_bytes()
                path.write_bytes(pack(b"") if change is None else change(pack(whole)))
                return strict(path)

            yield f"{ending}, {name}", build


@attacks("CIF")
def cif():
    changes = {
        "no cell": lambda c: c.replace(b"_cell_length_a", b"_cell_width_a"),
        "cell of words": lambda c: c.replace(b"12", b"twelve"),
        "flat cell": lambda c: c.replace(b"90", b"0"),
        "cell without end": lambda c: c.replace(b"12", b"1e999"),
        "no atoms": lambda c: c[: c.index(b"_atom_site_type_symbol")],
        "no such element": lambda c: c.replace(b" C ", b" Qq "),
        "unclosed quote": lambda c: c.replace(b"_cell_length_a", b"'_cell_length_a"),
        "unclosed text": lambda c: c + b"\n_a\n;\nno end",
        "no block": lambda c: c[c.index(b"_cell") :],
        "loop without values": lambda c: b"data_a\nloop_\n_atom_site_label\n",
    }
    for name, change in (CUTS | changes).items():
        yield (
            name,
            lambda folder, bases, change=change: changed(
                bases.cif, folder / "a.cif", change
            ),
        )


def without(name):
    return lambda arrays: {k: v for k, v in arrays.items() if k != name}


def with_values(name, make):
    return lambda arrays: arrays | {name: make(arrays[name])}


ARRAYS = {
    "no positions": without("positions"),
    "no numbers": without("atomic_numbers"),
    "short positions": with_values("positions", lambda x: x[:5]),
    "flat positions": with_values("positions", lambda x: x[..., :2]),
    "deep positions": with_values("positions", lambda x: x[None]),
    "one number": with_values("positions", lambda x: np.array(1.0)),
    "words for positions": with_values("positions", lambda x: np.array([b"a"] * 12)),
    "short energies": with_values("energy", lambda x: x[:3]),
    "short forces": with_values("forces", lambda x: x[:, :2]),
    "no atoms": with_values("atomic_numbers", lambda x: x * 0),
    "unknown elements": with_values("atomic_numbers", lambda x: x + 300),
    "negative elements": with_values("atomic_numbers", lambda x: -x),
    "fractions of elements": with_values("atomic_numbers", lambda x: x + 0.5),
    "positions that are not finite": with_values("positions", lambda x: x * np.nan),
    "infinite forces": with_values("forces", lambda x: x * np.inf),
}


@attacks("npz")
def npz():
    for name, change in CUTS.items():
        yield (
            name,
            lambda folder, bases, change=change: changed(
                bases.npz, folder / "a.npz", change
            ),
        )
    for name, change in ARRAYS.items():

        def build(folder, bases, change=change):
            np.savez(folder / "a.npz", **change(bases.arrays))
            return strict(folder / "a.npz")

        yield name, build

    def objects(folder, bases):
        more = {"numbers": np.array([{"a": 1}], object)}
        np.savez(folder / "a.npz", allow_pickle=True, **more)
        return strict(folder / "a.npz")

    yield "pickled objects", objects


@attacks("HDF5")
def hdf5():
    for name in ("one byte", "cut", "zeros", "html"):
        change = CUTS[name]
        yield (
            name,
            lambda folder, bases, change=change: changed(
                bases.hdf5, folder / "a.h5", change
            ),
        )
    for name in list(ARRAYS)[:10]:

        def build(folder, bases, change=ARRAYS[name]):
            with h5py.File(folder / "a.h5", "w") as file:
                for key, values in change(bases.arrays).items():
                    file[key] = values
            return strict(folder / "a.h5")

        yield name, build


@attacks("databases")
def databases():
    for ending in ("aselmdb", "db"):
        for name in ("one byte", "zeros", "ones", "html", "pointer", "cut"):

            def build(folder, bases, ending=ending, change=CUTS[name]):
                path = folder / f"a.{ending}"
                return changed(getattr(bases, ending), path, change)

            yield f"{ending}, {name}", build


@attacks("DeePMD")
def deepmd():
    def edit(name, change):
        def build(folder, bases):
            shutil.copytree(bases.deepmd, folder / "system")
            path = folder / "system" / name
            path.write_bytes(change(path.read_bytes()))
            return strict(folder / "system")

        return build

    for name in ("type.raw", "type_map.raw"):
        for text in (b"", b"a b c d e", b"0 0 1", b"-1 -1 -1 -1 -1", b"9 9 9 9 9"):
            if name == "type.raw" or text in (b"", b"-1 -1 -1 -1 -1"):
                yield f"{name} {text}", edit(name, lambda content, text=text: text)
    for name in ("coord", "box", "force"):
        for cut in ("one byte", "cut", "zeros", "html"):
            yield f"{name}.npy {cut}", edit(f"set.000/{name}.npy", CUTS[cut])

    def missing(folder, bases):
        shutil.copytree(bases.deepmd, folder / "system")
        (folder / "system" / "type.raw").unlink()
        return strict(folder / "system")

    yield "no types", missing


@pytest.mark.parametrize(
    ("kind", "name", "build"), ATTACKS, ids=[f"{k}: {n}" for k, n, _ in ATTACKS]
)
def test_damaged_files(kind, name, build, bases, assert_rejected, tmp_path):
    assert_rejected(*build(tmp_path, bases))
