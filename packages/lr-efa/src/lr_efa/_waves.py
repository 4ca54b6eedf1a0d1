"""Attention as a sum over plane waves, linear in the number of atoms."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._chunks import split_into_chunks
from ._multiples import cos_sin_of_multiples

# Number of elements of the largest intermediate array per chunk of waves.
_CHUNK = 2**15


class Waves(eqx.Module):
    """Plane waves, one of each opposite pair, with weights and harmonics.

    Attributes:
        vectors: directions, or integer vectors of a reciprocal lattice.
        weights: weights of both opposite waves, per pair of channels or shared by all.
        even: matrices from value components to output components for the harmonics of
            even degree.
        odd: the same for harmonics of odd degree; None if there are none.
    """

    vectors: Float[Array, "waves 3"]
    weights: Float[Array, "waves pairs"] | Float[Array, "waves 1"]
    even: Float[Array, "waves output components"]
    odd: Float[Array, "waves output components"] | None


class RotaryPhases(eqx.Module):
    r"""Phases by which a wave rotates the pairs of channels of each atom.

    Attributes:
        coordinates: vectors whose scalar products with those of a wave are the phases,
            one per scale.
        num_multiples: with a number, there is one scale and the phases of the pairs are
            its multiples 0, 1, ...; with None, the scales are those of the pairs, or
            one that all pairs share.
    """

    coordinates: Float[Array, "atoms scales 3"]
    num_multiples: int | None = eqx.field(static=True)

    def __call__(
        self, vectors: Float[Array, "waves 3"]
    ) -> Float[Array, "2 scales waves atoms"]:
        """Returns the cosines and sines of the phases."""
        phases = jnp.einsum(
            "nkx,px->kpn", self.coordinates, vectors, precision="highest"
        )
        if self.num_multiples is None:
            return jnp.stack([jnp.cos(phases), jnp.sin(phases)])
        return cos_sin_of_multiples(phases[0], self.num_multiples)


def attend_with_waves(
    query: Float[Array, "atoms sph qk"],
    key: Float[Array, "atoms sph qk"],
    value: Float[Array, "atoms components v"],
    rotary_phases: RotaryPhases,
    waves: Waves,
) -> Float[Array, "atoms output v"]:
    r"""Attention as a sum over plane waves.

    $$ \sum_{pk} w_{pk} \sum_n \big[M^{even}_p A_k \cos(a_m - a_n)
       + M^{odd}_p B_k \sin(a_m - a_n)\big] v_n, \qquad a_{npk} = x_{nk} \cdot u_p $$

    with the symmetric and antisymmetric products $A_k$ and $B_k$ of the pairs of query
    m and key n. The sums over n, $\sum_n k_n \cos a_n \otimes v_n$ and the same with
    the sine, are shared by all m. Waves are processed in chunks that are rematerialized
    in the backward pass, so that memory is independent of their number.
    """
    atoms, sph, size = query.shape
    # Axes: members of a pair, components, cosine or sine, pairs, waves, atoms.
    by_pair = lambda x: jnp.transpose(
        x.reshape(atoms, sph, 1, size // 2, 2, 1), (4, 1, 2, 3, 5, 0)
    )
    query, key, value = by_pair(query), by_pair(key), jnp.transpose(value, (1, 2, 0))

    def attend_with_chunk(chunk):
        return _attend_with_chunk(query, key, value, rotary_phases, chunk)

    count, outputs = waves.even.shape[:2]
    state_size = value.shape[1] * max(value.shape[0], outputs)
    chunk_size = max(1, _CHUNK // (2 * sph * size * max(atoms, state_size)))
    if count <= chunk_size:
        return jnp.transpose(attend_with_chunk(waves), (2, 0, 1))
    chunks = split_into_chunks(waves, -(-count // chunk_size))
    zeros = jnp.zeros((outputs, value.shape[1], atoms), value.dtype)
    add = lambda total, chunk: (total + jax.checkpoint(attend_with_chunk)(chunk), None)
    return jnp.transpose(jax.lax.scan(add, zeros, chunks)[0], (2, 0, 1))


def _attend_with_chunk(
    query: Float[Array, "2 sph 1 pairs 1 atoms"],
    key: Float[Array, "2 sph 1 pairs 1 atoms"],
    value: Float[Array, "components v atoms"],
    rotary_phases: RotaryPhases,
    waves: Waves,
) -> Float[Array, "output v atoms"]:
    phases = rotary_phases(waves.vectors)
    state = jnp.einsum("cvn,astkpn->cvastkp", value, key * phases, precision="highest")
    weighted = _apply_harmonics(state, waves)
    return jnp.einsum(
        "ovastkp,astkpn->ovn", weighted, query * phases, precision="highest"
    )


def _apply_harmonics(
    state: Float[Array, "components v 2 sph 2 pairs waves"], waves: Waves
) -> Float[Array, "output v 2 sph 2 pairs waves"]:
    """The state weighted and coupled: cosines for even degrees, sines for odd ones."""
    state = state * waves.weights.T
    contract = lambda harmonics, state: jnp.einsum(
        "poc,cvastkp->ovastkp", harmonics, state, precision="highest"
    )
    result = contract(waves.even, state)
    if waves.odd is None:
        return result
    sign = jnp.array([[-1.0, 1.0], [1.0, -1.0]], state.dtype)
    swapped = sign[:, None, :, None, None] * jnp.flip(state, (2, 4))
    return result + contract(waves.odd, swapped)
