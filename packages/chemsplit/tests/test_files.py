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

from chemsplit import Composition, Description, Split, describe, read_structures
from chemsplit._draft import draft

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


def test_ids_are_file_names_or_entries(folder):
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
def test_unreadable_files_are_named_and_the_others_kept(folder):
    paths = sorted(folder.iterdir())
    with pytest.warns(UserWarning, match=r"cannot be read: .*broken\.cif .*empty\.xyz"):
        read = read_structures(paths)
    assert read.ids == ["frames-0", "frames-1", "frames-2", "salt"]
    assert [path.rsplit("/")[-1] for path in read.unreadable] == [
        "broken.cif",
        "empty.xyz",
    ]
    with pytest.raises(ValueError, match="no structure in the files given. .*broken"):
        read_structures([folder / "broken.cif"])


@pytest.mark.parametrize(
    ("files", "keys", "sentence"),
    [
        ([], {}, "no structure in the files given"),
        (["frames.extxyz"] * 2, {}, "Ids must be unique, but 'frames-0'"),
        (
            ["frames.extxyz"],
            {"id_key": "refcode"},
            "frames-0 has no entry 'refcode'; it has .*'material', 'name'",
        ),
        (["salt.cif"], {"group_key": "material"}, "salt has no entry 'material'"),
        (["nowhere.cif"], {}, "nowhere.cif"),
    ],
)
def test_bad_files_are_one_sentence(folder, files, keys, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_structures([folder / file for file in files], **keys)


@pytest.fixture
def description():
    atoms = [molecule(name) for name in ("CH4", "H2O", "NH3")]
    return Description(
        describe(atoms, Composition()),
        ("methane", "water", "ammonia"),
        tuple(one.numbers for one in atoms),
        ("g", "g", "h"),
        {"descriptor": "Composition()"},
    )


@pytest.mark.parametrize("groups", [("g", "g", "h"), None])
def test_a_description_is_what_was_saved(description, groups, tmp_path):
    saved = Description(
        description.X, description.ids, description.numbers, groups, {"a": [1, "b"]}
    )
    saved.save(tmp_path / "set.npz")
    loaded = Description.load(tmp_path / "set.npz")
    assert (loaded.X != saved.X).nnz == 0
    assert isinstance(loaded.X, csr_matrix)
    assert (loaded.ids, loaded.groups) == (saved.ids, groups)
    assert loaded.settings == {"a": [1, "b"]}
    for one, other in zip(loaded.numbers, saved.numbers, strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.n_atoms.tolist() == [5, 3, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


def test_other_files_are_refused(description, tmp_path):
    path = tmp_path / "set.npz"
    with pytest.raises(ValueError, match='kept in an ".npz" file'):
        description.save(tmp_path / "set.json")
    path.write_text("nothing")
    with pytest.raises(ValueError, match="is not a description of structures"):
        Description.load(path)
    np.savez(path, X=np.eye(3))
    with pytest.raises(ValueError, match="is not a description of structures"):
        Description.load(path)
    description.save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="is not a description of structures"):
        Description.load(path)
    description.save(path)
    arrays = dict(np.load(path)) | {
        "head": np.array(json.dumps({"format": "chemsplit description 0"}))
    }
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="is not of this version"):
        Description.load(path)


def test_files_of_killed_processes_are_swept(tmp_path):
    node = re.sub("[^A-Za-z0-9_]", "_", platform.node())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as other:
        names = {
            "dead": f".rows.{node}-DEAD.tmp.npz",
            "as before": ".rows.DEAD.tmp.npz",
            "alive": f".rows.{node}-{other.pid}.tmp.npz",
            "elsewhere": ".rows.another-7.tmp.npz",
            "old": ".rows.another-8.tmp.npz",
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
        os.utime(paths["old"], (0, 0))
        describe([molecule("H2O")], Composition(), store=tmp_path)
        left = {k for k, path in paths.items() if path.exists()}
        assert left == {"alive", "elsewhere", "no process"}
        other.communicate(b"\n")


def test_a_file_takes_those_of_killed_writers_with_it(tmp_path):
    split = Split(["a"], [], ["b"])
    mine, others = tmp_path / ".s[1].4194304.tmp.json", tmp_path / ".t.4194304.tmp.json"
    mine.touch()
    others.touch()
    split.save(tmp_path / "s[1].json")
    assert sorted(p.name for p in tmp_path.iterdir()) == [others.name, "s[1].json"]


@pytest.mark.parametrize(
    "error", [OSError("cannot write mode F"), FileNotFoundError(2, "gone", "other")]
)
def test_errors_of_others_while_a_file_is_written_stay_as_they_are(error, tmp_path):
    with pytest.raises(OSError) as raised, draft(tmp_path / "out.png"):
        raise error
    assert raised.value is error and not list(tmp_path.iterdir())


def test_a_full_disk_names_the_file(tmp_path):
    with (
        pytest.raises(OSError, match=r"full: '.*out.png'"),
        draft(tmp_path / "out.png"),
    ):
        raise OSError(28, "full")
