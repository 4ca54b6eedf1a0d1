"""No model file, however damaged, does anything but load or raise one ValueError."""

import copy
import json
import zipfile

import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

WORTHLESS = [
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
WORTHLESS += [[], {}, [None], {"": None}, [1e9] * 3, ["1o"] * 2, "\n" * 3]
# What may change without harm: another number that some model could have.
HARMLESS = {
    "versions",
    "zbl",
    "cutoff",
    "envelope_exponent",
    "atomic_energies",
    "features",
}


def drawn(model, kind):
    """A model whose weights NumPy draws: nothing is compiled for it."""
    rng = np.random.default_rng(0)
    some = lambda leaf: jnp.asarray(rng.uniform(0.5, 1.0, leaf.shape), leaf.dtype)
    shapes = eqx.filter_eval_shape(lambda: model(kind))
    return jax.tree.map(lambda x: some(x) if hasattr(x, "shape") else x, shapes)


@pytest.fixture
def saved(kind, model, tmp_path):
    path = tmp_path / "model.npz"
    bb.save(path, drawn(model, kind))
    return path


def entries(path):
    """Header, names and arrays of a file, as they are written."""
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


def refusal(path):
    """The one line that refuses a file; None if it loads."""
    try:
        bb.load(path)
    except ValueError as error:
        assert "\n" not in str(error) and path.name in str(error)
        assert len(str(error)) < 600
        return str(error)


def places(tree, at=()):
    yield at
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from places(tree[key], (*at, key))


def changed(tree, at, change):
    """A copy of the tree in which `change(parent, key)` was called for one place."""
    tree = [copy.deepcopy(tree)]
    *parents, key = (0, *at)
    parent = tree
    for step in parents:
        parent = parent[step]
    change(parent, key)
    return tree[0] if tree else None


def test_every_place_of_the_header_is_checked(saved):
    text, arrays = entries(saved)
    rng, accepted = np.random.default_rng(0), set()
    for at in places(text):
        if "versions" in at[:-1]:
            continue  # for people to read
        changes = [lambda parent, key: parent.pop(key)]
        for value in rng.permutation(len(WORTHLESS))[:4]:
            new = WORTHLESS[value]
            changes.append(lambda parent, key, new=new: parent.__setitem__(key, new))
        for change in changes:
            mutated = changed(text, at, change)
            write(saved, mutated, arrays)
            if mutated != text and refusal(saved) is None:
                accepted.add(next(key for key in at[::-1] if isinstance(key, str)))
    assert accepted <= HARMLESS


def test_sizes_are_bounded_by_the_arrays_of_the_file(saved):
    text, arrays = entries(saved)
    for name, value in text["header"]["size"].items():
        for much in (10**9, 2**62, 4000):
            mutated = copy.deepcopy(text)
            many = [much] * 3 if isinstance(value, list) else much
            mutated["header"]["size"][name] = many
            write(saved, mutated, arrays)
            assert "`size` has" in refusal(saved)


def test_arrays_that_do_not_fit_are_refused(saved):
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
            assert refusal(saved)
    write(saved, text, {n: a for n, a in arrays.items() if n != name})
    assert "only one of the two" in refusal(saved)
    write(saved, text, {n + "x": a for n, a in arrays.items()})
    assert "only one of the two" in refusal(saved)
    write(saved, text, arrays | {".backbone.avg_num_neighbors": np.array(0.0)})
    assert "avg_num_neighbors=0.0, which must be positive" in refusal(saved)


def test_elements_go_with_the_rows_of_the_arrays(saved):
    """Permuted, repeated or other elements would give the weights to other elements."""
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
        write(saved, text | {"header": header | {"elements": elements}}, arrays)
        assert "elements" in refusal(saved)
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
        assert "`atomic_energies`" in refusal(saved)
    broken = [pairs[0], [6, float("nan")], pairs[2]]
    write(saved, text | {"header": header | {"atomic_energies": broken}}, arrays)
    assert "energy of element 6 is not finite" in refusal(saved)


def test_damaged_bytes_never_change_a_model(model, tmp_path):
    path, rng = tmp_path / "model.npz", np.random.default_rng(1)
    bb.save(path, drawn(model, bb.MACE))
    whole = path.read_bytes()
    expected = jax.tree.leaves(bb.load(path))
    for trial in range(150):
        content = bytearray(whole)
        start = int(rng.integers(len(whole)))
        if trial % 3 == 0:
            content = content[:start]
        for at in rng.integers(len(whole), size=1 + trial % 4):
            if trial % 3 and at < len(content):
                content[at] = rng.integers(256)
        path.write_bytes(bytes(content))
        if refusal(path) is None:
            for a, b in zip(expected, jax.tree.leaves(bb.load(path)), strict=True):
                np.testing.assert_array_equal(a, b)


def test_files_that_are_no_models_are_refused(model, tmp_path):
    path = tmp_path / "model.npz"
    bb.save(path, drawn(model, bb.MACE))
    text, arrays = entries(path)
    deep = "[" * 100_000
    for content in (deep, "{" * 9, "null", "[]", '{"header": 1}', "\x00", '{"format":'):
        write(path, content, arrays)
        assert refusal(path)
    np.savez_compressed(path, header=np.zeros(10**7, np.uint8), names=np.zeros(1))
    assert "larger than the file" in refusal(path)
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.write_bytes(path.with_suffix(".npy").read_bytes())
    assert "not a complete file" in refusal(path)
    for content in (b"", b"PK", b"PK\x05\x06" + bytes(18), bytes(1000)):
        path.write_bytes(content)
        assert "not a complete file" in refusal(path)
    with pytest.raises(FileNotFoundError):
        bb.load(tmp_path / "nowhere.npz")


def test_a_shape_larger_than_its_entry_allocates_nothing(model, tmp_path):
    path = tmp_path / "model.npz"
    bb.save(path, drawn(model, bb.MACE))
    head = b"\x93NUMPY\x01\x00v\x00"
    for shape in ("(10000000000000,)", "(-1,)", "(0, 10000000000000000000)"):
        described = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
        entry = head + described.ljust(117).encode() + b"\n" + bytes(8)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("header.npy", entry)
        assert "not a complete file" in refusal(path)


def test_sizes_that_need_too_large_tables_are_refused():
    with pytest.raises(ValueError, match="`l_max` = 7 with `correlation` = 3"):
        bb.MACESize(l_max=7)
    with pytest.raises(ValueError, match="go up to degree 11"):
        bb.AllegroSize(features=("1o", "12e"))
    for wrong in (
        {"radial_mlp": (8, 0)},
        {"envelope_exponent": 0},
        {"readout_width": 0},
    ):
        with pytest.raises(ValueError, match="must be at least 1"):
            bb.MACESize(**wrong)
    with pytest.raises(ValueError, match="`two_body` widths must be at least 1"):
        bb.AllegroSize(two_body=(0,))


def test_atomic_energies_are_finite(model):
    backbone = eqx.filter_eval_shape(lambda: model().backbone)
    with pytest.raises(ValueError, match="no finite energy for C: nan"):
        bb.Potential(backbone, {1: 0.0, 6: float("nan"), 8: 0.0})
