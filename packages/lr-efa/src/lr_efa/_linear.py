"""Linear maps within each degree, and the activation of queries and keys."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ._coupling import degrees_of


def init_linear(
    degree: int, channels: int, size: int, key: PRNGKeyArray
) -> Float[Array, "degrees channels size"]:
    """Normal weights of variance 1/channels, one matrix per degree."""
    weights = jr.normal(key, (degree + 1, channels, size))
    return weights / math.sqrt(channels)


def linear(
    weights: Float[Array, "degrees channels size"],
    features: Float[Array, "atoms sph channels"],
) -> Float[Array, "atoms sph size"]:
    """Linear map of the features with one matrix per degree."""
    by_component = weights[degrees_of(len(weights) - 1)].astype(features.dtype)
    return jnp.einsum("nsc,scw->nsw", features, by_component)


def gated_gelu(
    features: Float[Array, "atoms sph size"],
) -> Float[Array, "atoms sph size"]:
    r"""Features of all degrees times $\Phi(s)$ of the scalar s of the same channel.

    $\Phi$ is the normal cumulative distribution; scalars become gelu(s).
    """
    gate = jax.scipy.stats.norm.cdf(features[:, :1])
    return features * gate
