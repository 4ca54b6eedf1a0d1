"""Damaged model files either load unchanged or raise a ValueError of one line."""

import copy
import json
import sys
import zipfile

import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

INVALID_VALUES = [
    None,
    True,
    0,
    -1,
    1.5,
    10**9,
    10**30,
    1e400,
    float("nan"),
    "x",
    "",
    [],
    {},
]
INVALID_VALUES += [[], {}, [None], {"": None}, [1e9] * 3, ["1o"] * 2, "\n" * 3]
# Entries for which another value is valid too.
MUTABLE = {
    "zbl",
    "cutoff",
    "envelope_exponent",
    "atomic_energies",
    "features",
}
# Information only.
INFORMATION = {"versions", "distribution", "version"}


def random_model(model, *kind):
    """A model with weights from NumPy, which needs no compilation."""
    rng = np.random.default_rng(0)
    random = lambda leaf: jnp.asarray(rng.uniform(0.5, 1.0, leaf.shape), leaf.dtype)
    shapes = eqx.filter_eval_shape(lambda: model(*kind))
    return jax.tree.map(lambda x: random(x) if hasattr(x, "shape") else x, shapes)


@pytest.fixture
def saved(kind, model, tmp_path):
    path = tmp_path / "model.npz"
    bb.save(path, random_model(model, kind))
    return path


@pytest.fixture
def saved_with_layers(mace, tmp_path):
    """A sum of a layer of this package and one of another."""
    layers = lambda: (
        bb.TotalCharge(8, charges=(-3, 1), key=jax.random.key(0)),
        bb.layer_class("gaussian")(jnp.zeros(8)),
    )
    path = tmp_path / "model.npz"
    bb.save(path, random_model(lambda: mace(long_range={"final": bb.Sum(layers())})))
    return path


def entries(path):
    """Header and arrays of a file."""
    with np.load(path) as file:
        read = lambda name: json.loads(file[name].tobytes())
        names = read("names")
        return read("header"), {n: file[f"array_{i}"] for i, n in enumerate(names)}


def write(path, text, arrays):
    raw = lambda content: np.frombuffer(content.encode(), np.uint8)
    text = text if isinstance(text, str) else json.dumps(text)
    numbered = {f"array_{i}": array for i, array in enumerate(arrays.values())}
    names = json.dumps(list(arrays))
    np.savez(path, header=raw(text), names=raw(names), **numbered)


def error_of(path):
    """The error message of `load`; None if the file loads."""
    try:
        bb.load(path)
    except ValueError as error:
        assert "\n" not in str(error) and path.name in str(error)
        assert len(str(error)) < 600
        return str(error)


def paths(tree, path=()):
    yield path
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from paths(tree[key], (*path, key))


def changed(tree, path, change):
    """A copy of the tree after `change(parent, key)` for one path."""
    tree = [copy.deepcopy(tree)]
    *parents, key = (0, *path)
    parent = tree
    for step in parents:
        parent = parent[step]
    change(parent, key)
    return tree[0] if tree else None


def accepted_changes(saved, chosen):
    """Entries of which another value or none is accepted."""
    text, arrays = entries(saved)
    rng, accepted = np.random.default_rng(0), set()
    for path in filter(chosen, paths(text)):
        changes = [lambda parent, key: parent.pop(key)]
        for value in rng.permutation(len(INVALID_VALUES))[:4]:
            new = INVALID_VALUES[value]
            changes.append(lambda parent, key, new=new: parent.__setitem__(key, new))
        for change in changes:
            mutated = changed(text, path, change)
            write(saved, mutated, arrays)
            if mutated != text and error_of(saved) is None:
                accepted.add(next(key for key in path[::-1] if isinstance(key, str)))
    return accepted


def test_all_entries_of_the_header_are_checked(saved):
    chosen = lambda path: not INFORMATION & set(path[1:])
    assert accepted_changes(saved, chosen) <= MUTABLE


def test_all_entries_of_a_layer_are_checked(saved_with_layers):
    chosen = lambda path: "long_range" in path and not INFORMATION & set(path)
    # Other charges may have the same shapes; a missing argument has its default, since
    # a layer may get further arguments in later versions.
    assert accepted_changes(saved_with_layers, chosen) <= {"charges", "spins"}


def test_sizes_are_bounded_by_the_arrays_of_the_file(saved):
    text, arrays = entries(saved)
    for name, value in text["header"]["backbone"]["arguments"]["size"].items():
        for large in (10**9, 2**62, 4000):
            mutated = copy.deepcopy(text)
            new = [large] * 3 if isinstance(value, list) else large
            mutated["header"]["backbone"]["arguments"]["size"][name] = new
            write(saved, mutated, arrays)
            assert "`size` has" in error_of(saved)


def test_arguments_of_layers_are_bounded_by_the_arrays(saved_with_layers):
    """The shapes are compared with the arrays before anything is allocated."""
    text, arrays = entries(saved_with_layers)
    deep = [[]]
    for _ in range(20):
        deep = [deep]
    for channels in (10**9, 2**62, 4000, -(10**9), 5, 900, 1e300, [8] * 4000, deep):
        for member in range(2):
            mutated = copy.deepcopy(text)
            members = mutated["header"]["long_range"]["final"]["arguments"]["layers"]
            members[member]["arguments"]["channels"] = channels
            write(saved_with_layers, mutated, arrays)
            assert error_of(saved_with_layers)


def test_a_file_imports_entry_points_only(saved_with_layers):
    """A name that is a module, or a layer's name in the place of a backbone."""
    saved = saved_with_layers
    text, arrays = entries(saved)
    for name in ("antigravity", "backbones:MACE", "os:system", "gaussian", "../x"):
        mutated = copy.deepcopy(text)
        mutated["header"]["backbone"]["name"] = name
        write(saved, mutated, arrays)
        assert "is not installed" in error_of(saved)
    for name in ("antigravity", "mace", "function", "incomplete", "unimportable"):
        mutated = copy.deepcopy(text)
        mutated["header"]["long_range"]["final"]["name"] = name
        write(saved, mutated, arrays)
        assert "long-range layer" in error_of(saved)
    assert "antigravity" not in sys.modules


def test_arrays_that_do_not_match_raise(saved):
    text, arrays = entries(saved)
    name = next(n for n, a in arrays.items() if a.ndim == 2)
    good = arrays[name]
    bad = {
        "nan": np.full_like(good, np.nan),
        "infinite": np.where(np.arange(good.shape[1]) == 0, np.inf, good),
        "wide": np.concatenate([good, good], axis=1),
        "flat": good.ravel(),
        "none": good[:0],
        "complex": good + 1j,
        "text": good.astype(str),
        "void": good.view("V8"),
        "too large for float32": np.full_like(good, 1e300),
    }
    with jax.enable_x64(False):
        for array in bad.values():
            write(saved, text, arrays | {name: array})
            assert error_of(saved)
    write(saved, text, {n: a for n, a in arrays.items() if n != name})
    assert "only one of the two" in error_of(saved)
    write(saved, text, {n + "x": a for n, a in arrays.items()})
    assert "only one of the two" in error_of(saved)
    write(saved, text, arrays | {".backbone.avg_num_neighbors": np.array(0.0)})
    assert "avg_num_neighbors=0.0, which must be positive" in error_of(saved)


def test_elements_match_the_rows_of_the_arrays(saved):
    """Other elements, or another order, would assign weights to wrong elements."""
    text, arrays = entries(saved)
    header = text["header"]
    for elements in (
        [6, 1, 8],
        [1, 6, 6],
        [1, 6],
        [1, 6, 8, 9],
        [0, 6, 8],
        [1, 6, 119],
    ):
        mutated = copy.deepcopy(text)
        mutated["header"]["backbone"]["arguments"]["elements"] = elements
        write(saved, mutated, arrays)
        assert "elements" in error_of(saved)
    pairs = header["atomic_energies"]
    for atomic_energies in (
        pairs[::-1],
        pairs[:2],
        [*pairs, pairs[0]],
        [[1, 2, 3]] * 3,
    ):
        write(
            saved,
            text | {"header": header | {"atomic_energies": atomic_energies}},
            arrays,
        )
        assert "`atomic_energies`" in error_of(saved)
    broken = [pairs[0], [6, float("nan")], pairs[2]]
    write(saved, text | {"header": header | {"atomic_energies": broken}}, arrays)
    assert "energy of element 6 is not finite" in error_of(saved)


def test_damaged_bytes_never_change_a_model(model, tmp_path):
    path, rng = tmp_path / "model.npz", np.random.default_rng(1)
    bb.save(path, random_model(model, bb.MACE))
    original = path.read_bytes()
    expected = jax.tree.leaves(bb.load(path))
    for trial in range(150):
        content = bytearray(original)
        start = int(rng.integers(len(original)))
        if trial % 3 == 0:
            content = content[:start]
        for at in rng.integers(len(original), size=1 + trial % 4):
            if trial % 3 and at < len(content):
                content[at] = rng.integers(256)
        path.write_bytes(bytes(content))
        if error_of(path) is None:
            for a, b in zip(expected, jax.tree.leaves(bb.load(path)), strict=True):
                np.testing.assert_array_equal(a, b)


def test_other_files_raise(model, tmp_path):
    path = tmp_path / "model.npz"
    bb.save(path, random_model(model, bb.MACE))
    text, arrays = entries(path)
    deep = "[" * 100_000
    for content in (deep, "{" * 9, "null", "[]", '{"header": 1}', "\x00", '{"format":'):
        write(path, content, arrays)
        assert error_of(path)
    np.savez_compressed(path, header=np.zeros(10**7, np.uint8), names=np.zeros(1))
    assert "larger than the file" in error_of(path)
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.write_bytes(path.with_suffix(".npy").read_bytes())
    assert "not a complete file" in error_of(path)
    for content in (b"", b"PK", b"PK\x05\x06" + bytes(18), bytes(1000)):
        path.write_bytes(content)
        assert "not a complete file" in error_of(path)
    for missing in (tmp_path / "nowhere.npz", tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=f"no file {missing}: expected a"):
            bb.load(missing)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty/model.npz: .* or a folder with"):
        bb.load(tmp_path / "empty")


def test_a_shape_larger_than_its_entry_allocates_nothing(model, tmp_path):
    path = tmp_path / "model.npz"
    bb.save(path, random_model(model, bb.MACE))
    head = b"\x93NUMPY\x01\x00v\x00"
    for shape in ("(10000000000000,)", "(-1,)", "(0, 10000000000000000000)"):
        described = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
        entry = head + described.ljust(117).encode() + b"\n" + bytes(8)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("header.npy", entry)
        assert "not a complete file" in error_of(path)
