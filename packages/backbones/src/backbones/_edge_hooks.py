"""Long-range layers, which work on atoms, in backbones whose features are on edges."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ._batch import Batch
from ._hooks import Hooks, LayerOutput, no_output
from ._networks import Perceptron


def sum_over_neighbors(
    values: Float[Array, " edges *rest"], batch: Batch
) -> Float[Array, " nodes *rest"]:
    """Sums a quantity of the edges over the edges of each receiver."""
    return jax.ops.segment_sum(
        values,
        batch.receivers,
        num_segments=batch.graphs * batch.slots,
        indices_are_sorted=True,
    )


class EdgeAdapter(eqx.Module):
    r"""The networks around a long-range layer in a backbone with features on edges.

    $$ h_i = N^{-1/2} \sum_j u(r_{ij})\, M_1(x_{ij}), \qquad
       y_{ij} = u(r_{ij})\, M_2([x_{ij}, \Delta h_i]) $$

    with the layer's update $\Delta h_i$, the envelope $u$, the average number of
    neighbors $N$ and two networks $M$ of two hidden layers without biases, as wide as
    the layer. $M_1$ acts on each edge before the sum over edges.

    Args:
        inputs: width of the edge features that the layer reads.
        state: width of the edge features that $y$ is added to.
        width: channels of the layer and of the hidden layers.
        activation: of both networks, `"silu"` or `"mish"`.
        key: seed of the weights.
    """

    gather: Perceptron
    merge: Perceptron

    def __init__(
        self,
        inputs: int,
        state: int,
        width: int,
        *,
        activation: str = "silu",
        key: PRNGKeyArray,
    ):
        first, second = jr.split(key)
        self.gather = Perceptron(
            (inputs, width, width, width), activation=activation, key=first
        )
        self.merge = Perceptron(
            (state + width, width, width, state), activation=activation, key=second
        )

    def atoms(
        self,
        edge_features: Float[Array, "edges inputs"],
        envelope: Float[Array, " edges"],
        avg_num_neighbors: Float[Array, ""],
        batch: Batch,
    ) -> Float[Array, "nodes width"]:
        """Returns the scalars of the atoms, $h_i$, which the layer reads.

        Args:
            edge_features: $x_{ij}$.
            envelope: $u(r_{ij})$.
            avg_num_neighbors: $N$.
            batch: the structures.
        """
        weighted = envelope[:, None] * self.gather(edge_features)
        return sum_over_neighbors(weighted, batch) * avg_num_neighbors**-0.5

    def edges(
        self,
        state: Float[Array, "edges state"],
        update: Float[Array, "nodes width"],
        envelope: Float[Array, " edges"],
        receivers: Int[Array, " edges"],
    ) -> Float[Array, "edges state"]:
        r"""Returns the update of the edge features, $y_{ij}$.

        Args:
            state: edge features that $y$ is added to.
            update: the layer's update of the atoms, $\Delta h_i$.
            envelope: $u(r_{ij})$.
            receivers: node i of each edge.
        """
        joined = jnp.concatenate([state, update[receivers]], axis=-1)
        return envelope[:, None] * self.merge(joined)


class EdgeAdapters(eqx.Module):
    """The adapters of a backbone's hooks on edges.

    A hook with `NoLongRange` is one without a layer: it gets no adapter. A layer that
    is added to the hooks of a built backbone, to observe its features, has no adapter
    either: it reads the sums of the edge features, and its update has no effect.

    Args:
        hooks: the backbone's layers.
        inputs: width of the edge features that a layer reads, by hook.
        state: width of the edge features that the update is added to.
        widths: channels of the layers, by hook.
        activation: of the adapters' networks, `"silu"` or `"mish"`.
        key: seed of the weights.
    """

    adapters: dict[str, EdgeAdapter]

    def __init__(
        self,
        hooks: Hooks,
        inputs: dict[str, int],
        state: int,
        widths: dict[str, int],
        *,
        activation: str = "silu",
        key: PRNGKeyArray,
    ):
        keys = dict(zip(inputs, jr.split(key, len(inputs)), strict=True))
        self.adapters = {
            hook: EdgeAdapter(
                width, state, widths[hook], activation=activation, key=keys[hook]
            )
            for hook, width in inputs.items()
            if hooks.has_layer(hook)
        }

    def __call__(
        self,
        hooks: Hooks,
        hook: str,
        edge_features: Float[Array, "edges inputs"],
        state: Float[Array, "edges state"],
        scales: tuple[Float[Array, " edges"], Float[Array, ""]],
        batch: Batch,
    ) -> tuple[Float[Array, "edges state"] | None, LayerOutput]:
        """Returns the update of the edge features and the layer's other output.

        Args:
            hooks: the backbone's layers.
            hook: name of the hook; the update is None if it has no adapter.
            edge_features: that the layer reads.
            state: edge features that the update is added to.
            scales: envelope of each edge, and the average number of neighbors.
            batch: the structures.
        """
        envelope, avg_num_neighbors = scales
        if hook not in self.adapters:
            if not hooks.has_layer(hook):
                return None, no_output(batch.graphs * batch.slots, state.dtype)
            sums = sum_over_neighbors(envelope[:, None] * edge_features, batch)
            atoms = sums * avg_num_neighbors**-0.5
            return None, hooks.update(hook, atoms[:, None], batch)[1]
        adapter = self.adapters[hook]
        atoms = adapter.atoms(edge_features, envelope, avg_num_neighbors, batch)
        update, output = hooks.update(hook, atoms[:, None], batch)
        return adapter.edges(state, update[:, 0], envelope, batch.receivers), output
