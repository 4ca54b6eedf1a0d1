"""How layers that know atoms alone work on a backbone that knows edges."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ._batch import Batch
from ._hooks import Hooks, Told
from ._maps import Perceptron


def sum_to_centre(
    values: Float[Array, " edges *rest"], batch: Batch
) -> Float[Array, " nodes *rest"]:
    """Sums what edges carry over the edges of each centre atom."""
    return jax.ops.segment_sum(
        values,
        batch.receivers,
        num_segments=batch.graphs * batch.slots,
        indices_are_sorted=True,
    )


class EdgeAdapter(eqx.Module):
    r"""A hook of an edge-based backbone: edges to atoms, the layer, atoms to edges.

    $$ h_i = N^{-1/2} \sum_j u(r_{ij})\, M_1(x_{ij}), \qquad
       y_{ij} = u(r_{ij})\, M_2([x_{ij}, \Delta h_i]) $$

    with the layer's update $\Delta h_i$, the envelope $u$, the average number of
    neighbours $N$ and two networks $M$ of two hidden layers without biases, as wide as
    the layer. The nonlinearity stands before the sum, so every edge speaks for itself.

    Args:
        inputs: width of what the edges say.
        state: width of the edges' features that $y$ is added to.
        width: channels of the layer and of the hidden layers.
        activation: of both networks.
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
        said: Float[Array, "edges inputs"],
        weight: Float[Array, " edges"],
        neighbours: Float[Array, ""],
        batch: Batch,
    ) -> Float[Array, "nodes width"]:
        """The scalars of every atom that the layer works on.

        Args:
            said: features of the edges.
            weight: the envelope of each edge.
            neighbours: average number of neighbours.
            batch: the structures.
        """
        return sum_to_centre(weight[:, None] * self.gather(said), batch) * (
            neighbours**-0.5
        )

    def edges(
        self,
        state: Float[Array, "edges state"],
        update: Float[Array, "nodes width"],
        weight: Float[Array, " edges"],
        receivers: Int[Array, " edges"],
    ) -> Float[Array, "edges state"]:
        """What each edge makes of the update at its centre."""
        joined = jnp.concatenate([state, update[receivers]], axis=-1)
        return weight[:, None] * self.merge(joined)


class EdgeHooks(eqx.Module):
    """The hooks of an edge-based backbone that act on edges, with their adapters.

    A hook with `NoLongRange` is one without a layer: it gets no adapter.

    Args:
        hooks: the backbone's layers.
        inputs: what edges say at each hook on edges: its width, by hook.
        state: width of the edges' features.
        widths: channels of the layers, by hook.
        activation: of the adapters' networks.
        key: seed of the weights.
    """

    hooks: Hooks
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
        self.hooks = hooks
        keys = dict(zip(inputs, jr.split(key, len(inputs)), strict=True))
        self.adapters = {
            hook: EdgeAdapter(
                width, state, widths[hook], activation=activation, key=keys[hook]
            )
            for hook, width in inputs.items()
            if hooks.acts(hook)
        }

    def __call__(
        self,
        hook: str,
        said: Float[Array, "edges inputs"],
        state: Float[Array, "edges state"],
        around: tuple[Float[Array, " edges"], Float[Array, ""]],
        batch: Batch,
    ) -> tuple[Float[Array, "edges state"] | None, Told]:
        """What to merge into the edges' features, and what the layer tells.

        Args:
            hook: None is returned for one without a layer.
            said: what the layer hears of each edge.
            state: the features that the answer is merged with.
            around: envelope of each edge, and the average number of neighbours.
            batch: the structures.
        """
        if hook not in self.adapters:
            nothing = jnp.zeros(batch.graphs * batch.slots, state.dtype)
            return None, Told(nothing, nothing)
        adapter, (weight, neighbours) = self.adapters[hook], around
        atoms = adapter.atoms(said, weight, neighbours, batch)
        update, told = self.hooks.update(hook, atoms[:, None], batch)
        return adapter.edges(state, update[:, 0], weight, batch.receivers), told
