import backbones as bb
import jax
import numpy as np
import pytest


def test_round_trip_keeps_every_array(mace, tmp_path):
    path = tmp_path / "model.npz"
    bb.write_arrays(path, mace(seed=1), {"elements": [1, 6, 8]})
    back = bb.read_arrays(path, mace(seed=2))
    for a, b in zip(jax.tree.leaves(mace(seed=1)), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(a, b)
    assert bb.read_header(path) == {"elements": [1, 6, 8]}
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


def test_another_architecture_is_refused(mace, with_layer, tmp_path):
    path = tmp_path / "model.npz"
    bb.write_arrays(path, mace(), {})
    with pytest.raises(ValueError, match="another architecture"):
        bb.read_arrays(path, with_layer())
    small = bb.MACESize(channels=3, l_max=1, correlation=2, radial=(8,), readout=4)
    with pytest.raises(ValueError, match="has shape"):
        bb.read_arrays(path, mace(small))


def test_damaged_and_foreign_files_are_refused(mace, tmp_path):
    path = tmp_path / "model.npz"
    bb.write_arrays(path, mace(), {})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="not a complete file"):
        bb.read_header(path)
    np.savez(path, header=np.frombuffer(b'{"format": "other 7"}', np.uint8))
    with pytest.raises(ValueError, match="has format 'other 7'"):
        bb.read_header(path)
