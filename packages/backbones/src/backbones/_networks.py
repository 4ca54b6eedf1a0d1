"""Linear maps and small networks whose weights start with unit variance."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

# 1 / rms of the function for normal x: keeps the variance of hidden layers at one.
# That of silu is e3nn-jax's.
GAIN = {"silu": 1.6765620560798837, "mish": 1.4868475812732405}


class Linear(eqx.Module):
    """x W / sqrt(fan-in), without a bias, on the last axis.

    The weights are of order one and the scale is applied at every call, so that one
    learning rate suits layers of every width (the e3nn convention).
    """

    weight: Float[Array, "inputs outputs"]

    def __init__(self, inputs: int, outputs: int, *, key: PRNGKeyArray):
        self.weight = jr.normal(key, (inputs, outputs))

    def __call__(
        self, x: Float[Array, "*rest inputs"]
    ) -> Float[Array, "*rest outputs"]:
        """Returns the mapped features."""
        return x @ (self.weight * self.weight.shape[0] ** -0.5)


class DegreewiseLinear(eqx.Module):
    """One `Linear` a degree: the equivariant linear map of channels-last features."""

    maps: tuple[Linear, ...]

    def __init__(self, inputs: tuple[int, ...], outputs: int, *, key: PRNGKeyArray):
        keys = jr.split(key, len(inputs))
        self.maps = tuple(
            Linear(n, outputs, key=k) for n, k in zip(inputs, keys, strict=True)
        )

    def __call__(
        self, features: list[Float[Array, "nodes _ _"]]
    ) -> Float[Array, "nodes sph outputs"]:
        """Maps the block of every degree and joins the blocks along `sph`."""
        blocks = [m(x) for m, x in zip(self.maps, features, strict=True)]
        return jnp.concatenate(blocks, axis=1)


class ElementLinear(eqx.Module):
    """A linear map for each degree and each element."""

    weight: Float[Array, "elements degrees inputs outputs"]

    def __init__(self, elements: int, degrees: int, width: int, *, key: PRNGKeyArray):
        self.weight = jr.normal(key, (elements, degrees, width, width))

    def __call__(
        self,
        features: Float[Array, "nodes sph inputs"],
        one_hot: Float[Array, "nodes elements"],
    ) -> Float[Array, "nodes sph outputs"]:
        """Maps features up to `degrees - 1`, in e3nn order, by each node's element."""
        blocks = []
        for degree in range(self.weight.shape[1]):
            x = features[:, degree**2 : (degree + 1) ** 2]
            weight = self.weight[:, degree] * self.weight.shape[2] ** -0.5
            # One product of [nodes, elements * inputs] is faster than gathering a
            # matrix for every node.
            spread = jnp.einsum("nmc,nz->nmzc", x, one_hot)
            blocks.append(jnp.einsum("nmzc,zcd->nmd", spread, weight))
        return jnp.concatenate(blocks, axis=1)


class Perceptron(eqx.Module):
    """Linear maps with a nonlinearity between them; zero in gives zero out.

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
        curve = getattr(jax.nn, self.activation)
        for layer in self.layers[:-1]:
            x = GAIN[self.activation] * curve(layer(x))
        return self.layers[-1](x)


class Dense(eqx.Module):
    """silu(x W / sqrt(fan-in) + b); b starts at zero and may be left out."""

    linear: Linear
    bias: Float[Array, " outputs"] | None

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool = True, key: PRNGKeyArray
    ):
        self.linear = Linear(inputs, outputs, key=key)
        self.bias = jnp.zeros(outputs) if bias else None

    def __call__(
        self, x: Float[Array, "*rest inputs"]
    ) -> Float[Array, "*rest outputs"]:
        """Returns the layer's output."""
        x = self.linear(x)
        return jax.nn.silu(x if self.bias is None else x + self.bias)


class Residual(eqx.Module):
    """x + dense(dense(x))."""

    first: Dense
    second: Dense

    def __init__(self, width: int, *, key: PRNGKeyArray):
        one, two = jr.split(key)
        self.first = Dense(width, width, key=one)
        self.second = Dense(width, width, key=two)

    def __call__(self, x: Float[Array, "*rest width"]) -> Float[Array, "*rest width"]:
        """Returns the layer's output."""
        return x + self.second(self.first(x))
