"""Messages from neighbours: features times harmonics times learned radial weights."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from e3nn_jax import clebsch_gordan
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._irreps import degree_slice
from .._networks import DegreewiseLinear, Perceptron
from ._tiles import in_tiles

# Radial weights formed at once on a processor: half a megabyte in float32.
_AT_A_TIME = 2**17


def paths(input_degree: int, degree: int) -> list[tuple[int, int, int]]:
    """Couplings (feature, harmonic, message) of natural parity up to `degree`."""
    return [
        (a, b, c)
        for a in range(input_degree + 1)
        for b in range(degree + 1)
        for c in range(abs(a - b), min(a + b, degree) + 1)
        if (a + b + c) % 2 == 0
    ]


class Convolution(eqx.Module):
    """Sums over each atom's neighbours with learned radial weights.

    m_i = linear( sum_j R_p(r_ij) [h_j x Y(r_ij)]_p ), one R a path p and channel; the
    caller divides by the average number of neighbours.

    Args:
        input_degree: highest degree of the incoming features.
        degree: highest degree of the harmonics and of the messages.
        channels: width of every degree.
        radial: widths of the radial network, its input first.
        key: seed of the weights.
    """

    radial: Perceptron
    mix: DegreewiseLinear
    input_degree: int = eqx.field(static=True)
    degree: int = eqx.field(static=True)

    def __init__(
        self,
        input_degree: int,
        degree: int,
        channels: int,
        radial: tuple[int, ...],
        *,
        key: PRNGKeyArray,
    ):
        first, second = jax.random.split(key)
        couplings = paths(input_degree, degree)
        self.radial = Perceptron((*radial, len(couplings) * channels), key=first)
        fans = [sum(c == d for *_, c in couplings) for d in range(degree + 1)]
        inputs = tuple(fan * channels for fan in fans)
        self.mix = DegreewiseLinear(inputs, channels, key=second)
        self.input_degree, self.degree = input_degree, degree

    def __call__(
        self,
        features: Float[Array, "nodes sph channels"],
        harmonics: Float[Array, "edges harmonics"],
        basis: Float[Array, "edges radial"],
        senders: Int[Array, " edges"],
        receivers: Int[Array, " rows"],
    ) -> Float[Array, "nodes messages channels"]:
        """Returns the summed and mixed messages, of degree 0 to `degree`.

        Edges stand in rows of equal length, see `in_rows`.

        Args:
            features: up to `input_degree`, in e3nn order.
            harmonics: component-normalised, up to `degree`.
            basis: radial features that vanish at the cutoff and on padding.
            senders: node of each edge's neighbour.
            receivers: node of the centre of each row, ascending.
        """
        couplings = paths(self.input_degree, self.degree)
        split = lambda x: x.reshape(len(receivers), -1, *x.shape[1:])
        edges = split(senders), split(basis), split(harmonics)
        a_row = edges[0].shape[1] * len(couplings) * features.shape[-1]
        messages = in_tiles(
            functools.partial(_messages, couplings),
            (self.radial, features),
            edges,
            max(1, _AT_A_TIME // a_row),
        )
        summed = jax.ops.segment_sum(
            messages,
            receivers,
            num_segments=len(features),
            indices_are_sorted=True,
        )
        ends = np.cumsum([2 * c + 1 for *_, c in couplings])
        parts = jnp.split(summed, ends[:-1], axis=1)
        by_degree = [
            jnp.concatenate(
                [x for x, path in zip(parts, couplings, strict=True) if path[2] == d],
                axis=-1,
            )
            for d in range(self.degree + 1)
        ]
        return self.mix(by_degree)


def _messages(
    couplings: list[tuple[int, int, int]],
    shared: tuple[Perceptron, Float[Array, "nodes sph channels"]],
    senders: Int[Array, "rows width"],
    basis: Float[Array, "rows width radial"],
    harmonics: Float[Array, "rows width harmonics"],
) -> Float[Array, "rows messages channels"]:
    """What the edges of each row send together, path after path.

    `shared` are the radial network and the features of all nodes.
    """
    radial, features = shared
    # Edge after edge: slopes of the weights are then products of plain matrices.
    flat = lambda x: x.reshape(-1, *x.shape[2:])
    # Taken apart by `split`, whose derivative is one concatenation.
    weights = jnp.split(radial(flat(basis)), len(couplings), axis=-1)
    sizes = [(2 * a + 1) * (2 * c + 1) for a, _, c in couplings]
    matrices = jnp.split(
        _matrices(flat(harmonics), couplings), np.cumsum(sizes)[:-1], axis=-1
    )
    incoming = features[flat(senders)]
    rows, channels = len(senders), features.shape[-1]
    messages = []
    for p, (a, _, c) in enumerate(couplings):
        weighed = incoming[:, degree_slice(a)] * weights[p][:, None]
        matrix = matrices[p].reshape(rows, -1, 2 * c + 1)
        weighed = weighed.reshape(rows, -1, channels)
        messages.append(jnp.einsum("rem,rec->rmc", matrix, weighed))
    return jnp.concatenate(messages, axis=1)


def _matrices(
    harmonics: Float[Array, "edges harmonics"], couplings: list[tuple[int, int, int]]
) -> Float[Array, "edges coefficients"]:
    """For each edge and coupling the matrix from features to messages, side by side.

    Scaled to keep unit variance of components; one matrix serves all channels.
    """
    columns = []
    for a, b, c in couplings:
        table = np.zeros((2 * a + 1, harmonics.shape[-1], 2 * c + 1))
        table[:, degree_slice(b)] = clebsch_gordan(a, b, c) * (2 * c + 1) ** 0.5
        columns.append(np.moveaxis(table, 1, 0).reshape(harmonics.shape[-1], -1))
    table = jnp.asarray(np.concatenate(columns, axis=1), harmonics.dtype)
    return jnp.matmul(harmonics, table, precision=jax.lax.Precision.HIGHEST)
