import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from backbones.mace._tiles import in_tiles
from backbones.testing import predict


def waves(shared, x, more):
    return jnp.sin(x @ shared) * more["scale"][:, None]


@pytest.mark.parametrize("few", [1, 3, 4, 7, 100])
def test_tiles_make_what_the_whole_makes(few):
    """With its first and second slopes, also where the last tile is not full."""
    shared, x = jr.normal(jr.key(0), (2, 5)), jr.normal(jr.key(1), (7, 2))
    scale = jr.normal(jr.key(2), (7,))

    def slopes(form):
        total = lambda *args: jnp.sum(form(*args) ** 2)
        steep = lambda *args: sum(
            jnp.sum(jnp.sin(g)) for g in jax.grad(total, argnums=(0, 1, 2))(*args)
        )
        return form(shared, x, scale), jax.grad(steep, argnums=(0, 1, 2))(
            shared, x, scale
        )

    whole = slopes(lambda shared, x, scale: waves(shared, x, {"scale": scale}))
    tiled = slopes(
        lambda shared, x, scale: in_tiles(waves, shared, (x, {"scale": scale}), few)
    )
    for a, b in zip(jax.tree.leaves(tiled), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_slopes_hold_what_lies_between_for_one_tile_alone():
    """First and second ones, whose memory would else be that of all rows."""
    wide = lambda shared, x: jnp.sin(x @ shared) @ shared.T
    shared, x = jr.normal(jr.key(0), (4, 500)), jr.normal(jr.key(1), (400, 4))

    def room(few):
        total = lambda x: jnp.sum(in_tiles(wide, shared, (x,), few) ** 2)
        twice = jax.jit(jax.grad(lambda x: jnp.sum(jax.grad(total)(x) ** 2)))
        return twice.lower(x).compile().memory_analysis().temp_size_in_bytes

    assert room(8) < room(400) / 8


def test_mace_says_the_same_in_tiles_of_a_row_as_all_at_once(
    structure, mace, monkeypatch
):
    potential = mace()
    out = {}
    for at_a_time in (1, 2**30):
        for stage in ("_convolution", "_contraction"):
            monkeypatch.setattr(f"backbones.mace.{stage}._AT_A_TIME", at_a_time)
        jax.clear_caches()
        out[at_a_time] = predict(potential, structure(1), structure(2))
    jax.clear_caches()  # other tests want tiles of their own size
    for a, b in zip(*out.values(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
