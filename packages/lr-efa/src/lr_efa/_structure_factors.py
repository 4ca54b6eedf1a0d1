"""The sum over reciprocal vectors as products of matrices."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._chunks import in_chunks
from ._waves import Waves

# Numbers in the arrays of one chunk of vectors.
_CHUNK = 2**22


def attend_to_lattice(
    query: Float[Array, "atoms sph qk"],
    key: Float[Array, "atoms sph qk"],
    value: Float[Array, "atoms components v"],
    fractional: Float[Array, "atoms 3"],
    bands: list[Waves],
) -> Float[Array, "atoms output v"]:
    r"""The attention to the structure factors of keys and values.

    $$ \sum_{Kk} w_k(K) \sum_n \big[M^{even}_K A_k \cos(a_m - a_n)
       + M^{odd}_K B_k \sin(a_m - a_n)\big] v_n, \qquad a_n = K \cdot r_n $$

    with the symmetric and antisymmetric products $A_k$ and $B_k$ of the pairs of query
    m and key n. Waves are the same for all channels, so that both
    $\sum_n e^{i a_n} k_n \otimes v_n$ and its sum over vectors at every atom are one
    product of matrices each, and nothing is formed per atom, vector and channel.

    Args:
        query: channels in pairs (2k, 2k + 1).
        key: channels in pairs (2k, 2k + 1).
        value: what is summed.
        fractional: positions in the basis of the lattice.
        bands: integer vectors, each with weights for as many of the last pairs of
            channels as there are shells that reach it.
    """
    by_pair = lambda x: x.reshape(*x.shape[:2], -1, 2)
    query, key = by_pair(query), by_pair(key)
    products = key[..., None, None] * value[:, None, None, None]
    outputs = bands[0].even.shape[1]
    total = jnp.zeros((len(value), outputs, value.shape[2]), value.dtype)
    for band in bands:
        first = query.shape[2] - band.weights.shape[1]
        seen = _seen_from(products[:, :, first:], fractional, band)
        total += jnp.einsum(
            "nskj,nskjov->nov", query[:, :, first:], seen, precision="highest"
        )
    return total


def _seen_from(
    products: Float[Array, "atoms sph pairs 2 components v"],
    fractional: Float[Array, "atoms 3"],
    band: Waves,
) -> Float[Array, "atoms sph pairs 2 output v"]:
    """What each component of a query is multiplied by, chunk by chunk of vectors."""
    atoms, *middle, components, channels = products.shape
    count, outputs = band.even.shape[:2]
    state = math.prod(middle) * max(components, outputs) * channels
    chunks = -(-2 * count * (atoms + state) // _CHUNK)
    if chunks == 1:
        return _through_waves(products, fractional, band)
    # Recomputed for gradients, so that memory does not grow with the vectors.
    part = jax.checkpoint(lambda band: _through_waves(products, fractional, band))
    add = lambda total, band: (total + part(band), None)
    nothing = jnp.zeros((atoms, *middle, outputs, channels), products.dtype)
    return jax.lax.scan(add, nothing, in_chunks(band, chunks))[0]


def _through_waves(
    products: Float[Array, "atoms sph pairs 2 components v"],
    fractional: Float[Array, "atoms 3"],
    waves: Waves,
) -> Float[Array, "atoms sph pairs 2 output v"]:
    turns = jnp.einsum("nx,px->np", fractional, waves.vectors, precision="highest")
    phases = 2 * math.pi * turns
    phases = jnp.stack([jnp.cos(phases), jnp.sin(phases)], axis=1)
    state = jnp.einsum("ntp,nskjcv->tpskjcv", phases, products, precision="highest")
    weighted = _through_harmonics(state, waves)
    return jnp.einsum("ntp,tpskjov->nskjov", phases, weighted, precision="highest")


def _through_harmonics(
    state: Float[Array, "2 waves sph pairs 2 components v"], waves: Waves
) -> Float[Array, "2 waves sph pairs 2 output v"]:
    """The state that queries see: cosines for even degrees, sines for odd ones."""
    state = state * waves.weights[:, None, :, None, None, None]
    result = _spread(waves.even, state)
    if waves.odd is None:
        return result
    sign = jnp.array([[-1.0, 1.0], [1.0, -1.0]], state.dtype)
    crossed = sign[:, None, None, None, :, None, None] * jnp.flip(state, (0, 4))
    return result + _spread(waves.odd, crossed)


def _spread(
    harmonics: Float[Array, "waves output components"],
    state: Float[Array, "2 waves sph pairs 2 components v"],
) -> Float[Array, "2 waves sph pairs 2 output v"]:
    if harmonics.shape[2] == 1:
        return harmonics[:, None, None, None] * state
    return jnp.einsum("poc,tpskjcv->tpskjov", harmonics, state, precision="highest")
