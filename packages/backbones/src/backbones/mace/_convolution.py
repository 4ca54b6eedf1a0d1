"""The convolution of MACE: messages from neighbors."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from e3nn_jax import clebsch_gordan
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._irreps import degree_slice
from .._networks import DegreewiseLinear, Perceptron
from ._row_products import sum_over_edges
from ._tiles import in_tiles

# Number of radial weights per tile on a CPU: half a megabyte in float32.
_TILE_SIZE = 2**17


def paths(input_degree: int, degree: int) -> list[tuple[int, int, int]]:
    """Returns the couplings (feature, harmonic, message) of natural parity.

    Args:
        input_degree: highest degree of the features.
        degree: highest degree of the harmonics and of the messages.
    """
    return [
        (a, b, c)
        for a in range(input_degree + 1)
        for b in range(degree + 1)
        for c in range(abs(a - b), min(a + b, degree) + 1)
        if (a + b + c) % 2 == 0
    ]


class Convolution(eqx.Module):
    """Messages of the neighbors, summed with learned radial weights.

    m_i = linear( sum_j R_p(r_ij) [h_j x Y(r_ij)]_p ), with an R per coupling p and
    channel; the caller divides by the average number of neighbors.

    Args:
        input_degree: highest degree of the features.
        degree: highest degree of the harmonics and of the messages.
        channels: number of channels of each degree.
        radial_mlp: widths of the radial network's input and hidden layers.
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
        radial_mlp: tuple[int, ...],
        *,
        key: PRNGKeyArray,
    ):
        first, second = jax.random.split(key)
        couplings = paths(input_degree, degree)
        self.radial = Perceptron((*radial_mlp, len(couplings) * channels), key=first)
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
        """Returns the messages of the nodes, of degree 0 to `degree`.

        Edges are in rows of equal length, see `pad_to_rows`.

        Args:
            features: up to `input_degree`, in e3nn order.
            harmonics: up to `degree`, with component normalization.
            basis: radial basis functions, zero at the cutoff and on padding.
            senders: node of the neighbor of each edge.
            receivers: node of the central atom of each row, ascending.
        """
        couplings = paths(self.input_degree, self.degree)
        split = lambda x: x.reshape(len(receivers), -1, *x.shape[1:])
        edges = split(senders), split(basis), split(harmonics)
        row_size = edges[0].shape[1] * len(couplings) * features.shape[-1]
        messages = in_tiles(
            functools.partial(_messages, couplings),
            (self.radial, features),
            edges,
            max(1, _TILE_SIZE // row_size),
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
    """Returns the sums of the messages of the edges of each row, for all couplings.

    Args:
        couplings: degrees of feature, harmonic and message.
        shared: the radial network and the features of all nodes.
        senders: node of the neighbor of each edge.
        basis: radial basis functions.
        harmonics: up to the highest degree of the couplings.
    """
    radial, features = shared
    # With one axis of edges, gradients of the weights are products of two matrices.
    flat = lambda x: x.reshape(-1, *x.shape[2:])
    # The derivative of `split` is one concatenation, that of slices is many.
    weights = jnp.split(radial(flat(basis)), len(couplings), axis=-1)
    sizes = [(2 * a + 1) * (2 * c + 1) for a, _, c in couplings]
    matrices = jnp.split(
        _matrices(flat(harmonics), couplings), np.cumsum(sizes)[:-1], axis=-1
    )
    incoming = features[flat(senders)]
    rows, channels = len(senders), features.shape[-1]
    messages = []
    for p, (a, _, c) in enumerate(couplings):
        weighted = incoming[:, degree_slice(a)] * weights[p][:, None]
        matrix = matrices[p].reshape(rows, -1, 2 * c + 1)
        weighted = weighted.reshape(rows, -1, channels)
        messages.append(sum_over_edges(matrix, weighted))
    return jnp.concatenate(messages, axis=1)


def _matrices(
    harmonics: Float[Array, "edges harmonics"], couplings: list[tuple[int, int, int]]
) -> Float[Array, "edges coefficients"]:
    """Returns the matrices from features to messages, concatenated over couplings.

    There is one per edge and coupling, for all channels. They are scaled to keep unit
    variance of the components.
    """
    columns = []
    for a, b, c in couplings:
        table = np.zeros((2 * a + 1, harmonics.shape[-1], 2 * c + 1))
        table[:, degree_slice(b)] = clebsch_gordan(a, b, c) * (2 * c + 1) ** 0.5
        columns.append(np.moveaxis(table, 1, 0).reshape(harmonics.shape[-1], -1))
    table = jnp.asarray(np.concatenate(columns, axis=1), harmonics.dtype)
    return jnp.matmul(harmonics, table, precision=jax.lax.Precision.HIGHEST)
