"""The sum over reciprocal vectors as matrix products."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._chunks import split_into_chunks
from ._waves import Waves

# Number of array elements per chunk of vectors.
_CHUNK = 2**22


def attend_in_crystal(
    query: Float[Array, "atoms sph qk"],
    key: Float[Array, "atoms sph qk"],
    value: Float[Array, "atoms components v"],
    fractional: Float[Array, "atoms 3"],
    bands: list[Waves],
) -> Float[Array, "atoms output v"]:
    r"""Attention in a crystal, from structure factors of keys times values.

    $$ \sum_{Kk} w_k(K) \sum_n \big[M^{even}_K A_k \cos(a_m - a_n)
       + M^{odd}_K B_k \sin(a_m - a_n)\big] v_n, \qquad a_n = K \cdot r_n $$

    with the symmetric and antisymmetric products $A_k$ and $B_k$ of the pairs of query
    m and key n. Waves are shared by all channels. Therefore the structure factors
    $\sum_n e^{i a_n} k_n \otimes v_n$ and their sum over vectors at every atom are one
    matrix product each, without an array per atom, vector and channel.

    Args:
        query: queries, channels in pairs (2k, 2k + 1).
        key: keys, channels in pairs (2k, 2k + 1).
        value: values, summed with the weights.
        fractional: fractional coordinates.
        bands: reciprocal vectors, grouped by length into bands; each band has integer
            vectors, and weights for the last pairs of channels, those whose shells
            extend to the band.
    """
    by_pair = lambda x: x.reshape(*x.shape[:2], -1, 2)
    query, key = by_pair(query), by_pair(key)
    products = key[..., None, None] * value[:, None, None, None]
    outputs = bands[0].even.shape[1]
    total = jnp.zeros((len(value), outputs, value.shape[2]), value.dtype)
    for band in bands:
        first = query.shape[2] - band.weights.shape[1]
        state = _state_at_atoms(products[:, :, first:], fractional, band)
        total += jnp.einsum(
            "nskj,nskjov->nov", query[:, :, first:], state, precision="highest"
        )
    return total


def _state_at_atoms(
    products: Float[Array, "atoms sph pairs 2 components v"],
    fractional: Float[Array, "atoms 3"],
    band: Waves,
) -> Float[Array, "atoms sph pairs 2 output v"]:
    """Returns the coefficient of each query component, a sum over chunks of vectors."""
    atoms, *middle, components, channels = products.shape
    count, outputs = band.even.shape[:2]
    state_size = math.prod(middle) * max(components, outputs) * channels
    num_chunks = -(-2 * count * (atoms + state_size) // _CHUNK)
    if num_chunks == 1:
        return _state_of_waves(products, fractional, band)
    # Rematerialized in the backward pass: memory is independent of the vector count.
    chunk_state = jax.checkpoint(
        lambda chunk: _state_of_waves(products, fractional, chunk)
    )
    add = lambda total, chunk: (total + chunk_state(chunk), None)
    zeros = jnp.zeros((atoms, *middle, outputs, channels), products.dtype)
    return jax.lax.scan(add, zeros, split_into_chunks(band, num_chunks))[0]


def _state_of_waves(
    products: Float[Array, "atoms sph pairs 2 components v"],
    fractional: Float[Array, "atoms 3"],
    waves: Waves,
) -> Float[Array, "atoms sph pairs 2 output v"]:
    phases = (
        2
        * math.pi
        * jnp.einsum("nx,px->np", fractional, waves.vectors, precision="highest")
    )
    cos_sin = jnp.stack([jnp.cos(phases), jnp.sin(phases)], axis=1)
    state = jnp.einsum("ntp,nskjcv->tpskjcv", cos_sin, products, precision="highest")
    weighted = _apply_harmonics(state, waves)
    return jnp.einsum("ntp,tpskjov->nskjov", cos_sin, weighted, precision="highest")


def _apply_harmonics(
    state: Float[Array, "2 waves sph pairs 2 components v"], waves: Waves
) -> Float[Array, "2 waves sph pairs 2 output v"]:
    """Returns the products of the weighted state with the even and odd harmonics."""
    state = state * waves.weights[:, None, :, None, None, None]
    result = _contract(waves.even, state)
    if waves.odd is None:
        return result
    sign = jnp.array([[-1.0, 1.0], [1.0, -1.0]], state.dtype)
    swapped = sign[:, None, None, None, :, None, None] * jnp.flip(state, (0, 4))
    return result + _contract(waves.odd, swapped)


def _contract(
    harmonics: Float[Array, "waves output components"],
    state: Float[Array, "2 waves sph pairs 2 components v"],
) -> Float[Array, "2 waves sph pairs 2 output v"]:
    if harmonics.shape[2] == 1:
        return harmonics[:, None, None, None] * state
    return jnp.einsum("poc,tpskjcv->tpskjov", harmonics, state, precision="highest")
