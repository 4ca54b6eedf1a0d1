"""Rotary phases and the sum over waves: linear in the number of atoms."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._chunks import in_chunks
from ._phases import turns

# Numbers in the largest intermediate array of one chunk of waves.
_CHUNK = 2**15


class Waves(eqx.Module):
    """One of each pair of opposite waves, and what its amplitude is multiplied by.

    Attributes:
        vectors: directions, or integer vectors of a reciprocal lattice.
        weights: of both opposite waves, for every pair of channels or one for all.
        even: from components of the values to those of the output, through harmonics
            of even degree.
        odd: the same through harmonics of odd degree; None where there are none.
    """

    vectors: Float[Array, "waves 3"]
    weights: Float[Array, "waves pairs"] | Float[Array, "waves 1"]
    even: Float[Array, "waves output components"]
    odd: Float[Array, "waves output components"] | None


class Rotor(eqx.Module):
    r"""By which phases a wave turns the pairs of channels of each atom.

    Attributes:
        coordinates: scalar products with the vectors of waves are phases, one for each
            of the scales.
        multiples: the pairs turn by so many multiples of the phase of a single scale,
            0, 1, ...; None if the scales are those of the pairs, or common to all.
    """

    coordinates: Float[Array, "atoms scales 3"]
    multiples: int | None = eqx.field(static=True)

    def __call__(
        self, vectors: Float[Array, "waves 3"]
    ) -> Float[Array, "2 scales waves atoms"]:
        """Cosines and sines."""
        phases = jnp.einsum(
            "nkx,px->kpn", self.coordinates, vectors, precision="highest"
        )
        if self.multiples is None:
            return jnp.stack([jnp.cos(phases), jnp.sin(phases)])
        return turns(phases[0], self.multiples)


def attend_to_waves(
    query: Float[Array, "atoms sph qk"],
    key: Float[Array, "atoms sph qk"],
    value: Float[Array, "atoms components v"],
    rotor: Rotor,
    waves: Waves,
) -> Float[Array, "atoms output v"]:
    r"""The attention to every wave's state, summed over the waves.

    $$ \sum_{pk} w_{pk} \sum_n \big[M^{even}_p A_k \cos(a_m - a_n)
       + M^{odd}_p B_k \sin(a_m - a_n)\big] v_n, \qquad a_{npk} = x_{nk} \cdot u_p $$

    with the symmetric and antisymmetric products $A_k$ and $B_k$ of the pairs of query
    m and key n. The sums over n are made once, $\sum_n k_n \cos a_n \otimes v_n$ and
    the same with the sine. Waves go in chunks, recomputed for gradients, so that memory
    does not grow with their number.
    """
    atoms, sph, width = query.shape
    # Members of a pair, components, cosine or sine, pairs, waves, atoms.
    by_pair = lambda x: jnp.transpose(
        x.reshape(atoms, sph, 1, width // 2, 2, 1), (4, 1, 2, 3, 5, 0)
    )
    query, key, value = by_pair(query), by_pair(key), jnp.transpose(value, (1, 2, 0))

    def part(waves):
        return _attend_to_chunk(query, key, value, rotor, waves)

    count, outputs = waves.even.shape[:2]
    state = value.shape[1] * max(value.shape[0], outputs)
    size = max(1, _CHUNK // (2 * sph * width * max(atoms, state)))
    if count <= size:
        return jnp.transpose(part(waves), (2, 0, 1))
    chunks = -(-count // size)
    nothing = jnp.zeros((outputs, value.shape[1], atoms), value.dtype)
    add = lambda total, waves: (total + jax.checkpoint(part)(waves), None)
    return jnp.transpose(
        jax.lax.scan(add, nothing, in_chunks(waves, chunks))[0], (2, 0, 1)
    )


def _attend_to_chunk(
    query: Float[Array, "2 sph 1 pairs 1 atoms"],
    key: Float[Array, "2 sph 1 pairs 1 atoms"],
    value: Float[Array, "components v atoms"],
    rotor: Rotor,
    waves: Waves,
) -> Float[Array, "output v atoms"]:
    phases = rotor(waves.vectors)
    state = jnp.einsum("cvn,astkpn->cvastkp", value, key * phases, precision="highest")
    weighted = _through_harmonics(state, waves)
    return jnp.einsum(
        "ovastkp,astkpn->ovn", weighted, query * phases, precision="highest"
    )


def _through_harmonics(
    state: Float[Array, "components v 2 sph 2 pairs waves"], waves: Waves
) -> Float[Array, "output v 2 sph 2 pairs waves"]:
    """The state that queries see: cosines for even degrees, sines for odd ones."""
    state = state * waves.weights.T
    spread = lambda harmonics, state: jnp.einsum(
        "poc,cvastkp->ovastkp", harmonics, state, precision="highest"
    )
    result = spread(waves.even, state)
    if waves.odd is None:
        return result
    sign = jnp.array([[-1.0, 1.0], [1.0, -1.0]], state.dtype)
    crossed = sign[:, None, :, None, None] * jnp.flip(state, (2, 4))
    return result + spread(waves.odd, crossed)
