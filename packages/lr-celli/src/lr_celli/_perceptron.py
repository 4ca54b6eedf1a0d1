"""Multilayer perceptron on per-atom scalars."""

import itertools as it

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

# 1 / rms of silu for normal arguments, so that hidden layers preserve the variance.
_GAIN = 1.6765320


class Perceptron(eqx.Module):
    """Multilayer perceptron with silu and without biases: maps zero to zero.

    The weights have unit variance and are divided by the root of the fan-in in a call.

    Attributes:
        weights: one matrix per linear map.
    """

    weights: tuple[Float[Array, "_ _"], ...]

    def __init__(self, sizes: tuple[int, ...], *, key: PRNGKeyArray):
        """Draws the weights.

        Args:
            sizes: numbers of features of the input, the hidden layers and the output.
            key: seed of the weights.
        """
        shapes = list(it.pairwise(sizes))
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

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of features of the input, the hidden layers and the output."""
        return (self.weights[0].shape[0], *(weight.shape[1] for weight in self.weights))

    def with_zero_output(self) -> "Perceptron":
        """The same network with zero weights in the last map, which returns zero."""
        last = jnp.zeros_like(self.weights[-1])
        return eqx.tree_at(lambda net: net.weights[-1], self, last)
