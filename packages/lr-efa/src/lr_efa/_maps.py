"""Linear maps within each degree, and the activation of queries and keys."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ._coupling import degrees_of


def random_map(
    degree: int, channels: int, width: int, key: PRNGKeyArray
) -> Float[Array, "degrees channels width"]:
    """One matrix a degree that keeps the variance of its inputs."""
    weights = jr.normal(key, (degree + 1, channels, width))
    return weights / math.sqrt(channels)


def linear(
    weights: Float[Array, "degrees channels width"],
    features: Float[Array, "atoms sph channels"],
) -> Float[Array, "atoms sph width"]:
    """The same matrix for all components of a degree."""
    each = weights[degrees_of(len(weights) - 1)].astype(features.dtype)
    return jnp.einsum("nsc,scw->nsw", features, each)


def gated_gelu(
    features: Float[Array, "atoms sph width"],
) -> Float[Array, "atoms sph width"]:
    r"""All degrees times $\Phi$ of their channel's scalar; for scalars this is gelu."""
    gate = jax.scipy.stats.norm.cdf(features[:, :1])
    return features * gate
