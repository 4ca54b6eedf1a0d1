import backbones as bb
import jax
import numpy as np
import pytest


def test_arrays_are_restored(mace, tmp_path):
    path = tmp_path / "model.npz"
    bb.write_arrays(path, mace(seed=1), {"elements": [1, 6, 8]})
    back = bb.read_arrays(path, mace(seed=2))
    for a, b in zip(jax.tree.leaves(mace(seed=1)), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(a, b)
    assert bb.read_header(path) == {"elements": [1, 6, 8]}
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    bb.write_arrays(path, {"a": np.ones(2)}, {"epoch": 1})

    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "full")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="full"):
        bb.write_arrays(path, {"a": np.zeros(2)}, {"epoch": 2})
    assert bb.read_header(path) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


def test_another_architecture_raises(mace, with_layer, tmp_path):
    path = tmp_path / "model.npz"
    bb.write_arrays(path, mace(), {})
    with pytest.raises(ValueError, match="another architecture"):
        bb.read_arrays(path, with_layer())
    small = bb.MACESize(
        channels=3, l_max=1, correlation=2, radial_mlp=(8,), readout_width=4
    )
    with pytest.raises(ValueError, match="has shape"):
        bb.read_arrays(path, mace(small))


def test_damaged_and_other_files_raise(mace, tmp_path):
    path = tmp_path / "model.npz"
    bb.write_arrays(path, mace(), {})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="not a complete file"):
        bb.read_header(path)
    np.savez(path, header=np.frombuffer(b'{"format": "other 7"}', np.uint8))
    with pytest.raises(ValueError, match="has format 'other 7'"):
        bb.read_header(path)


def test_a_saved_potential_is_restored(kind, model, tmp_path):
    path = tmp_path / "model.npz"
    potential = bb.Potential(
        model(kind, seed=4).backbone, {1: -1.5, 6: 2.5, 8: -3.25}, scale=0.3, zbl=True
    )
    bb.save(path, potential)
    back = bb.load(path)
    assert jax.tree.structure(back) == jax.tree.structure(potential)
    for a, b in zip(jax.tree.leaves(potential), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(a, b)
    header = bb.read_header(path)
    assert header["architecture"] in ("MACE", "Allegro", "DimeNet++")
    assert header["units"]["energy"] == "eV"
    assert header["elements"] == [1, 6, 8]


def test_a_saved_potential_needs_its_long_range_layers(
    kind, with_layer_at_every_hook, tmp_path
):
    path = tmp_path / "model.npz"
    potential = with_layer_at_every_hook(kind)
    bb.save(path, potential)
    layers = potential.backbone.hooks.layers
    fresh = {h: jax.tree.map(jax.numpy.zeros_like, layers[h]) for h in layers}
    back = bb.load(path, long_range=fresh)
    assert jax.tree.structure(back) == jax.tree.structure(potential)
    for a, b in zip(jax.tree.leaves(potential), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(
        ValueError, match="`long_range` has no layer: pass one with the same"
    ):
        bb.load(path)
    other = fresh | {"final": bb.TotalCharge(4, key=jax.random.key(0))}
    with pytest.raises(ValueError, match=r"has backbones.TotalCharge\(.*lowest=-6"):
        bb.load(path, long_range=other)


def test_unsupported_headers_raise(model, tmp_path):
    path = tmp_path / "model.npz"
    potential = model()
    bb.save(path, potential)
    header = bb.read_header(path)
    cases = {
        "kind": ("backbones potential 9", "of kind 'backbones potential 9'"),
        "architecture": ("SchNet", "'SchNet'; this release supports Allegro, DimeNet"),
        "size": (header["size"] | {"heads": 3}, "the file has 'heads'"),
    }
    for field, (value, message) in cases.items():
        bb.write_arrays(path, potential, header | {field: value})
        with pytest.raises(ValueError, match=message):
            bb.load(path)
    bb.write_arrays(path, potential, {"elements": [1]})
    with pytest.raises(ValueError, match="of kind None"):
        bb.load(path)

    class Foreign(bb.MACE):
        pass

    foreign = object.__new__(Foreign)
    for name, value in vars(potential.backbone).items():
        object.__setattr__(foreign, name, value)
    with pytest.raises(ValueError, match="Foreign is not a backbone of this package"):
        bb.save(path, bb.Potential(foreign, {1: 0.0, 6: 0.0, 8: 0.0}))
