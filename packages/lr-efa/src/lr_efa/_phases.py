"""Cosines and sines of the multiples of a phase."""

import functools as ft

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@ft.partial(jax.custom_jvp, nondiff_argnums=(1,))
def turns(
    phases: Float[Array, "*waves"], multiples: int
) -> Float[Array, "2 multiples *waves"]:
    r"""$\cos k a$ and $\sin k a$ for $k = 0, 1, ...$ below `multiples`.

    From those of $a, 2a, 4a, ...$ by the addition theorem, as accurate and much cheaper
    than one by one: $\log_2$ as many cosines and sines are evaluated.
    """
    cosines, sines = jnp.ones_like(phases)[None], jnp.zeros_like(phases)[None]
    while len(cosines) < multiples:
        angle = len(cosines) * phases
        c, s = jnp.cos(angle), jnp.sin(angle)
        turned = cosines * c - sines * s, sines * c + cosines * s
        cosines = jnp.concatenate([cosines, turned[0]])
        sines = jnp.concatenate([sines, turned[1]])
    return jnp.stack([cosines[:multiples], sines[:multiples]])


@turns.defjvp
def _derivative(multiples, primals, tangents):
    (phases,), (change,) = primals, tangents
    cosines, sines = value = turns(phases, multiples)
    counts = jnp.arange(multiples, dtype=phases.dtype)
    slopes = counts.reshape(-1, *[1] * phases.ndim) * jnp.stack([-sines, cosines])
    return value, slopes * change
