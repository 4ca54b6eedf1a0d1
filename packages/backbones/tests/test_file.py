import sys

import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
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


def assert_same(potential, other):
    assert jax.tree.structure(other) == jax.tree.structure(potential)
    for a, b in zip(jax.tree.leaves(potential), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_saved_potential_is_restored(kind, model, tmp_path):
    path = tmp_path / "model.npz"
    potential = bb.Potential(
        model(kind, seed=4).backbone, {1: -1.5, 6: 2.5, 8: -3.25}, scale=0.3, zbl=True
    )
    bb.save(path, potential)
    assert_same(potential, bb.load(path))
    assert_same(potential, bb.load(tmp_path))
    header = bb.read_header(path)
    assert header["backbone"]["name"] in ("mace", "allegro", "dimenet")
    assert header["backbone"]["distribution"] == "backbones"
    assert header["units"]["energy"] == "eV"
    assert header["backbone"]["arguments"]["elements"] == [1, 6, 8]
    assert header["boundaries"] is None and header["heads"] == {}


def test_a_file_has_all_that_its_layers_need(kind, with_layer_at_every_hook, tmp_path):
    path = tmp_path / "model.npz"
    potential = with_layer_at_every_hook(kind)
    bb.save(path, potential)
    assert_same(potential, bb.load(path))
    layers = bb.read_header(path)["long_range"]
    members = layers["embedding"]["arguments"]["layers"]
    assert [m["name"] for m in members] == ["charge", "gaussian"]
    assert layers["final"]["distribution"] == "gaussian-layers"


def test_a_missing_layer_is_named(mace, with_layer, monkeypatch, tmp_path):
    path, inside = tmp_path / "model.npz", tmp_path / "inside.npz"
    bb.save(path, with_layer())
    layer = bb.Sum((bb.Sum((with_layer().backbone.hooks.layers["final"],)),))
    bb.save(inside, mace(long_range={"final": layer}))
    paths = [p for p in sys.path if not p.endswith("installed")]
    monkeypatch.setattr(sys, "path", paths)
    message = (
        "its long-range layer 'gaussian' is not installed: install the package "
        r"'gaussian-layers' \(the file was written with version '1.0'\)"
    )
    for file in (path, inside):
        with pytest.raises(ValueError, match=message):
            bb.load(file)
    with pytest.raises(ValueError, match="'gaussian_layers' is not installed with an"):
        bb.save(path, with_layer())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ewald", "No long-range layer 'ewald' is installed: installed are .*charge"),
        ("gausian", "'gausian' is installed: did you mean 'gaussian'[?] installed are"),
        ("absent", "'absent' of gaussian-layers cannot be imported"),
        ("unimportable", "imported .ModuleNotFoundError: No .* or uninstall it"),
        ("function", "is not a long-range layer: it is not a class derived from"),
        ("incomplete", "is not a long-range layer: it has no `degree`"),
    ],
)
def test_entry_points_that_are_no_layer_raise(name, message):
    with pytest.raises(ValueError, match=message):
        bb.layer_class(name)


def test_entry_points_that_are_no_backbone_raise():
    with pytest.raises(ValueError, match="is not a backbone: it has no `elements`"):
        bb.backbone_class("layer")


def test_two_packages_with_one_name_raise(monkeypatch, tmp_path):
    folder = tmp_path / "other_layers-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: other-layers\n")
    (folder / "entry_points.txt").write_text(
        "[backbones.long_range]\ngaussian = other_layers:Layer\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="other-layers and gaussian-layers both have"):
        bb.layer_class("gaussian")


def test_layers_that_are_not_what_their_arguments_give_raise(mace, tmp_path):
    layer = bb.TotalCharge(8, key=jax.random.key(0))
    shifted = eqx.tree_at(lambda m: m.charge, layer, jnp.zeros((5, 9)))
    with pytest.raises(ValueError, match="The layer at 'final' cannot be written to"):
        bb.save(tmp_path / "model.npz", mace(long_range={"final": shifted}))


def test_unsupported_headers_raise(model, tmp_path):
    path = tmp_path / "model.npz"
    potential = model()
    bb.save(path, potential)
    header = bb.read_header(path)
    backbone = header["backbone"]
    size = backbone["arguments"]["size"] | {"heads": 3}
    heads = {"dipole": {"name": "dipole"}}
    cases = {
        "kind": ("backbones potential 3", "potential 4': made by another version"),
        "backbone": (backbone | {"name": "schnet"}, "'schnet' is not installed"),
        "boundaries": ([True, True, False], "which this version of backbones does not"),
        "heads": (heads, "it has `heads` .* install a later one"),
    }
    arguments = backbone["arguments"] | {"size": size}
    changed = header | {"backbone": backbone | {"arguments": arguments}}
    cases["backbone, size"] = (changed["backbone"], "the file has 'heads'")
    for field, (value, message) in cases.items():
        entry = field.partition(",")[0]
        bb.write_arrays(path, potential, header | {entry: value})
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
    with pytest.raises(ValueError, match="Foreign cannot be written to a model file"):
        bb.save(path, bb.Potential(foreign, {1: 0.0, 6: 0.0, 8: 0.0}))
