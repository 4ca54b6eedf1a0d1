"""Small networks on per-atom scalars."""

import itertools as it

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

# 1 / rms of silu for normal arguments: hidden layers keep the variance of their input.
_GAIN = 1.6765320


class Perceptron(eqx.Module):
    """Linear maps with silu between them, no biases: zero in gives zero out.

    The weights are of order one and divided by the root of the fan-in at every call.

    Attributes:
        weights: one matrix a map.
    """

    weights: tuple[Float[Array, "_ _"], ...]

    def __init__(self, widths: tuple[int, ...], *, key: PRNGKeyArray):
        """Draws the weights.

        Args:
            widths: of the input, the hidden layers and the output.
            key: seed.
        """
        shapes = list(it.pairwise(widths))
        keys = jr.split(key, len(shapes))
        self.weights = tuple(
            jr.normal(k, shape) for k, shape in zip(keys, shapes, strict=True)
        )

    def __call__(self, x: Float[Array, "atoms inputs"]) -> Float[Array, "atoms outs"]:
        """Returns the network's output."""
        for number, weight in enumerate(self.weights):
            if number > 0:
                x = _GAIN * jax.nn.silu(x)
            x = x @ (weight.astype(x.dtype) * weight.shape[0] ** -0.5)
        return x

    def silenced(self) -> "Perceptron":
        """The same network with a last map of zeros: it returns zero at first."""
        last = jnp.zeros_like(self.weights[-1])
        return eqx.tree_at(lambda net: net.weights[-1], self, last)
