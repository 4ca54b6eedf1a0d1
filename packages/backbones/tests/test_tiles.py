import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from backbones.mace._tiles import in_tiles
from backbones.testing import predict


def waves(shared, x, more):
    return jnp.sin(x @ shared) * more["scale"][:, None]


@pytest.mark.parametrize("tile", [1, 3, 4, 7, 100])
def test_tiles_give_the_untiled_result(tile):
    """With its first and second derivatives, also if the last tile has padding."""
    shared, x = jr.normal(jr.key(0), (2, 5)), jr.normal(jr.key(1), (7, 2))
    scale = jr.normal(jr.key(2), (7,))

    def derivatives(function):
        total = lambda *args: jnp.sum(function(*args) ** 2)
        sum_of_gradients = lambda *args: sum(
            jnp.sum(jnp.sin(g)) for g in jax.grad(total, argnums=(0, 1, 2))(*args)
        )
        return function(shared, x, scale), jax.grad(
            sum_of_gradients, argnums=(0, 1, 2)
        )(shared, x, scale)

    expected = derivatives(lambda shared, x, scale: waves(shared, x, {"scale": scale}))
    tiled = derivatives(
        lambda shared, x, scale: in_tiles(waves, shared, (x, {"scale": scale}), tile)
    )
    for a, b in zip(jax.tree.leaves(tiled), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_second_derivatives_need_the_memory_of_one_tile():
    """Without rematerialization they need that of all rows."""
    wide = lambda shared, x: jnp.sin(x @ shared) @ shared.T
    shared, x = jr.normal(jr.key(0), (4, 500)), jr.normal(jr.key(1), (400, 4))

    def memory(tile):
        total = lambda x: jnp.sum(in_tiles(wide, shared, (x,), tile) ** 2)
        second = jax.jit(jax.grad(lambda x: jnp.sum(jax.grad(total)(x) ** 2)))
        return second.lower(x).compile().memory_analysis().temp_size_in_bytes

    assert memory(8) < memory(400) / 8


def test_mace_does_not_depend_on_the_tile_size(structure, mace, monkeypatch):
    potential = mace()
    out = {}
    for tile_size in (1, 2**30):
        for stage in ("_convolution", "_contraction"):
            monkeypatch.setattr(f"backbones.mace.{stage}._TILE_SIZE", tile_size)
        jax.clear_caches()
        out[tile_size] = predict(potential, structure(1), structure(2))
    jax.clear_caches()  # compiled with other tile sizes
    for a, b in zip(*out.values(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
