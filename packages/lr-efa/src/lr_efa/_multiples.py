"""Cosines and sines of integer num_multiples of a phase."""

import functools as ft

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@ft.partial(jax.custom_jvp, nondiff_argnums=(1,))
def cos_sin_of_multiples(
    phases: Float[Array, "*waves"], num_multiples: int
) -> Float[Array, "2 num_multiples *waves"]:
    r"""$\cos k a$ and $\sin k a$ for $k = 0, 1, ...$ below `num_multiples`.

    Computed from those of $a, 2a, 4a, ...$ with the addition theorem, which evaluates
    $\log_2$ as many cosines and sines at the same accuracy.
    """
    cosines, sines = jnp.ones_like(phases)[None], jnp.zeros_like(phases)[None]
    while len(cosines) < num_multiples:
        angle = len(cosines) * phases
        c, s = jnp.cos(angle), jnp.sin(angle)
        sums = cosines * c - sines * s, sines * c + cosines * s
        cosines = jnp.concatenate([cosines, sums[0]])
        sines = jnp.concatenate([sines, sums[1]])
    return jnp.stack([cosines[:num_multiples], sines[:num_multiples]])


@cos_sin_of_multiples.defjvp
def _derivative(num_multiples, primals, tangents):
    (phases,), (tangent,) = primals, tangents
    cosines, sines = value = cos_sin_of_multiples(phases, num_multiples)
    counts = jnp.arange(num_multiples, dtype=phases.dtype)
    derivatives = counts.reshape(-1, *[1] * phases.ndim) * jnp.stack([-sines, cosines])
    return value, derivatives * tangent
