import json
import os
import platform
import re
import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from scipy.sparse import csr_matrix

from chemsplit import Composition, DescriptorTable, Split, describe, read_structures
from chemsplit._atomic_write import atomic_write

# ASE 3.29 sets the shape of an empty array in place, which NumPy 2.5 deprecates: in
# Atoms(), and in copy() and indexing, which start from it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Setting the shape on a NumPy array:DeprecationWarning:ase.atoms"
)


@pytest.fixture
def folder(tmp_path):
    """A crystal, three named frames of two materials, and two broken files."""
    ase.io.write(tmp_path / "salt.cif", bulk("NaCl", "rocksalt", a=5.6))
    frames = []
    for name, material in (("a", "water"), ("b", "water"), ("c", "ammonia")):
        frame = molecule("H2O" if material == "water" else "NH3")
        frame.info |= {"name": name, "material": material}
        frames.append(frame)
    ase.io.write(tmp_path / "frames.extxyz", frames)
    (tmp_path / "broken.cif").write_text("this is no crystal\n")
    (tmp_path / "empty.xyz").write_text("")
    return tmp_path


def test_ids_are_file_names_or_info_entries(folder):
    read = read_structures([folder / "salt.cif", folder / "frames.extxyz"])
    assert read.ids == ["salt", "frames-0", "frames-1", "frames-2"]
    assert [len(atoms) for atoms in read.atoms] == [2, 3, 3, 4]
    assert read.groups is None
    named = read_structures(
        [folder / "frames.extxyz"], id_key="name", group_key="material"
    )
    assert named.ids == ["a", "b", "c"]
    assert named.groups == ["water", "water", "ammonia"]
    by_file = read_structures([folder / "frames.extxyz"], group_key="file")
    assert by_file.groups == ["frames"] * 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_unreadable_files_are_listed_and_skipped(folder):
    paths = sorted(folder.iterdir())
    with pytest.warns(UserWarning, match=r"cannot be read: .*broken\.cif .*empty\.xyz"):
        read = read_structures(paths)
    assert read.ids == ["frames-0", "frames-1", "frames-2", "salt"]
    assert [path.rsplit("/")[-1] for path in read.unreadable] == [
        "broken.cif",
        "empty.xyz",
    ]
    with pytest.raises(ValueError, match="no structure in the given files. .*broken"):
        read_structures([folder / "broken.cif"])


@pytest.mark.parametrize(
    ("files", "keys", "message"),
    [
        ([], {}, "no structure in the given files"),
        (["frames.extxyz"] * 2, {}, "Ids must be unique, but 'frames-0'"),
        (
            ["frames.extxyz"],
            {"id_key": "refcode"},
            "frames-0 has no entry 'refcode' in .*'material', 'name'",
        ),
        (["salt.cif"], {"group_key": "material"}, "salt has no entry 'material'"),
        (["nowhere.cif"], {}, "nowhere.cif"),
    ],
)
def test_file_errors_are_one_line(folder, files, keys, message):
    with pytest.raises(ValueError, match=message):
        read_structures([folder / file for file in files], **keys)


@pytest.fixture
def table():
    molecules = [molecule(name) for name in ("CH4", "H2O", "NH3")]
    return DescriptorTable(
        describe(molecules, Composition()),
        ("methane", "water", "ammonia"),
        tuple(atoms.numbers for atoms in molecules),
        ("g", "g", "h"),
        {"descriptor": "Composition()"},
    )


@pytest.mark.parametrize("groups", [("g", "g", "h"), None])
def test_a_loaded_table_equals_the_saved_one(table, groups, tmp_path):
    saved = DescriptorTable(table.X, table.ids, table.numbers, groups, {"a": [1, "b"]})
    saved.save(tmp_path / "set.npz")
    loaded = DescriptorTable.load(tmp_path / "set.npz")
    assert (loaded.X != saved.X).nnz == 0
    assert isinstance(loaded.X, csr_matrix)
    assert (loaded.ids, loaded.groups) == (saved.ids, groups)
    assert loaded.settings == {"a": [1, "b"]}
    for numbers, expected in zip(loaded.numbers, saved.numbers, strict=True):
        np.testing.assert_array_equal(numbers, expected)
    assert loaded.n_atoms.tolist() == [5, 3, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


def test_other_files_are_rejected(table, tmp_path):
    path = tmp_path / "set.npz"
    with pytest.raises(ValueError, match='written to an ".npz" file'):
        table.save(tmp_path / "set.json")
    path.write_text("nothing")
    with pytest.raises(ValueError, match="is not a table of descriptors"):
        DescriptorTable.load(path)
    np.savez(path, X=np.eye(3))
    with pytest.raises(ValueError, match="is not a table of descriptors"):
        DescriptorTable.load(path)
    table.save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="is not a table of descriptors"):
        DescriptorTable.load(path)
    table.save(path)
    arrays = dict(np.load(path)) | {
        "head": np.array(json.dumps({"format": "chemsplit descriptors 0"}))
    }
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="was made by another version of chemsplit"):
        DescriptorTable.load(path)


def test_temporary_files_of_killed_processes_are_deleted(tmp_path):
    host = re.sub("[^A-Za-z0-9_]", "_", platform.node())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as other:
        names = {
            "dead": f".rows.{host}-DEAD.tmp.npz",
            "dead, without host": ".rows.DEAD.tmp.npz",
            "alive": f".rows.{host}-{other.pid}.tmp.npz",
            "other host": ".rows.another-7.tmp.npz",
            "old, other host": ".rows.another-8.tmp.npz",
            "no process": ".rows.tmp.npz",
        }
        dead = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getpid())"],
            capture_output=True,
            text=True,
        ).stdout.strip()
        paths = {k: tmp_path / v.replace("DEAD", dead) for k, v in names.items()}
        for path in paths.values():
            path.touch()
        os.utime(paths["old, other host"], (0, 0))
        describe([molecule("H2O")], Composition(), store=tmp_path)
        remaining = {k for k, path in paths.items() if path.exists()}
        assert remaining == {"alive", "other host", "no process"}
        other.communicate(b"\n")


def test_writing_deletes_stale_temporary_files_of_the_same_name(tmp_path):
    split = Split(["a"], [], ["b"])
    same, other = tmp_path / ".s[1].4194304.tmp.json", tmp_path / ".t.4194304.tmp.json"
    same.touch()
    other.touch()
    split.save(tmp_path / "s[1].json")
    assert sorted(p.name for p in tmp_path.iterdir()) == [other.name, "s[1].json"]


@pytest.mark.parametrize(
    "error", [OSError("cannot write mode F"), FileNotFoundError(2, "gone", "other")]
)
def test_errors_about_other_files_are_not_changed(error, tmp_path):
    with pytest.raises(OSError) as raised, atomic_write(tmp_path / "out.png"):
        raise error
    assert raised.value is error and not list(tmp_path.iterdir())


def test_disk_full_errors_name_the_file(tmp_path):
    with (
        pytest.raises(OSError, match=r"full: '.*out.png'"),
        atomic_write(tmp_path / "out.png"),
    ):
        raise OSError(28, "full")
