"""Linear maps and small networks, with weights of unit variance at the start."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

# 1 / rms of the function of a normal variable, to keep unit variance of hidden layers.
# The value for silu is that of e3nn-jax.
GAIN = {"silu": 1.6765620560798837, "mish": 1.4868475812732405}


class Linear(eqx.Module):
    """x W / sqrt(fan-in), without a bias, on the last axis.

    The weights have unit variance and the scale is applied in the call, so that one
    learning rate is suitable for all widths (the e3nn convention).

    Args:
        inputs: width of the input, the fan-in.
        outputs: width of the output.
        gain: standard deviation of the initial weights, if it is not one.
        key: seed of the weights.
    """

    weight: Float[Array, "inputs outputs"]

    def __init__(
        self, inputs: int, outputs: int, *, gain: float = 1.0, key: PRNGKeyArray
    ):
        self.weight = gain * jr.normal(key, (inputs, outputs))

    def __call__(
        self, x: Float[Array, "*rest inputs"]
    ) -> Float[Array, "*rest outputs"]:
        """Returns the mapped features."""
        return x @ (self.weight * self.weight.shape[0] ** -0.5)


class DegreewiseLinear(eqx.Module):
    """Equivariant linear map of channels-last features: one `Linear` per degree.

    Args:
        inputs: number of input channels of each degree.
        outputs: number of output channels of each degree.
        key: seed of the weights.
    """

    maps: tuple[Linear, ...]

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, key: PRNGKeyArray):
        keys = jr.split(key, len(inputs))
        self.maps = tuple(
            Linear(n, outputs, key=k) for n, k in zip(inputs, keys, strict=True)
        )

    def __call__(
        self, features: list[Float[Array, "nodes _ _"]]
    ) -> Float[Array, "nodes sph outputs"]:
        """Returns the mapped features of all degrees, concatenated along `sph`.

        Args:
            features: components of each degree, `[nodes, 2 l + 1, channels]`.
        """
        blocks = [m(x) for m, x in zip(self.maps, features, strict=True)]
        return jnp.concatenate(blocks, axis=1)


class ElementLinear(eqx.Module):
    """Equivariant linear map with weights for each element.

    Args:
        elements: number of elements.
        degrees: number of degrees, from 0.
        width: number of channels of each degree.
        key: seed of the weights.
    """

    weight: Float[Array, "elements degrees inputs outputs"]

    def __init__(self, elements: int, degrees: int, width: int, *, key: PRNGKeyArray):
        self.weight = jr.normal(key, (elements, degrees, width, width))

    def __call__(
        self,
        features: Float[Array, "nodes sph inputs"],
        one_hot: Float[Array, "nodes elements"],
    ) -> Float[Array, "nodes sph outputs"]:
        """Returns the mapped features.

        Args:
            features: up to degree `degrees - 1`, in e3nn order.
            one_hot: element of each node.
        """
        blocks = []
        for degree in range(self.weight.shape[1]):
            x = features[:, degree**2 : (degree + 1) ** 2]
            weight = self.weight[:, degree] * self.weight.shape[2] ** -0.5
            # One product of [nodes, elements * inputs] is faster than gathering a
            # matrix per node.
            expanded = jnp.einsum("nmc,nz->nmzc", x, one_hot)
            blocks.append(jnp.einsum("nmzc,zcd->nmd", expanded, weight))
        return jnp.concatenate(blocks, axis=1)


class Perceptron(eqx.Module):
    """Multilayer perceptron without biases: the output of zero is zero.

    Args:
        widths: of the input, the hidden layers and the output.
        activation: `"silu"` or `"mish"`.
        key: seed of the weights.
    """

    layers: tuple[Linear, ...]
    activation: str = eqx.field(static=True)

    def __init__(
        self, widths: tuple[int, ...], *, activation: str = "silu", key: PRNGKeyArray
    ):
        keys = jr.split(key, len(widths) - 1)
        self.layers = tuple(
            Linear(a, b, key=k)
            for a, b, k in zip(widths[:-1], widths[1:], keys, strict=True)
        )
        self.activation = activation

    def __call__(
        self, x: Float[Array, "*rest inputs"]
    ) -> Float[Array, "*rest outputs"]:
        """Returns the network's output."""
        activation = getattr(jax.nn, self.activation)
        for layer in self.layers[:-1]:
            x = GAIN[self.activation] * activation(layer(x))
        return self.layers[-1](x)


class Dense(eqx.Module):
    """silu(x W / sqrt(fan-in) + b), with b zero at the start.

    Args:
        inputs: width of the input.
        outputs: width of the output.
        bias: whether there is a b.
        gain: standard deviation of the initial weights.
        key: seed of the weights.
    """

    linear: Linear
    bias: Float[Array, " outputs"] | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        gain: float = 1.0,
        key: PRNGKeyArray,
    ):
        self.linear = Linear(inputs, outputs, gain=gain, key=key)
        self.bias = jnp.zeros(outputs) if bias else None

    def __call__(
        self, x: Float[Array, "*rest inputs"]
    ) -> Float[Array, "*rest outputs"]:
        """Returns the layer's output."""
        x = self.linear(x)
        return jax.nn.silu(x if self.bias is None else x + self.bias)


class Residual(eqx.Module):
    """x + dense(dense(x)).

    Args:
        width: of x.
        key: seed of the weights.
    """

    first: Dense
    second: Dense

    def __init__(self, width: int, *, key: PRNGKeyArray):
        first, second = jr.split(key)
        self.first = Dense(width, width, key=first)
        self.second = Dense(width, width, key=second)

    def __call__(self, x: Float[Array, "*rest width"]) -> Float[Array, "*rest width"]:
        """Returns the layer's output."""
        return x + self.second(self.first(x))
