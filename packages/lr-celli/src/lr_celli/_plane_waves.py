"""Plane waves at the atoms: cosines and sines computed from power series."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Number of terms of the power series of half the angle, which is at most pi/2.
_TERMS = {"float32": 8, "float64": 12}


@jax.custom_jvp
def cosine_and_sine(
    turns: Float[Array, " *phases"],
) -> tuple[Float[Array, " *phases"], Float[Array, " *phases"]]:
    r"""$\cos 2\pi t$ and $\sin 2\pi t$, accurate to the rounding of $t$.

    The nearest integer is subtracted from $t$, so that a short power series is enough.
    Compilers vectorize the series, but not a library's cosine.
    """
    half = math.pi * (turns - jnp.round(turns))
    squared = half * half
    cosine, sine = jnp.zeros_like(half), jnp.zeros_like(half)
    for n in reversed(range(_TERMS[turns.dtype.name])):
        cosine = cosine * squared + (-1) ** n / math.factorial(2 * n)
        sine = sine * squared + (-1) ** n / math.factorial(2 * n + 1)
    sine = sine * half
    return 1 - 2 * sine * sine, 2 * sine * cosine


@cosine_and_sine.defjvp
def _cosine_and_sine_jvp(primals, tangents):
    cosine, sine = cosine_and_sine(*primals)
    rate = 2 * math.pi * tangents[0]
    return (cosine, sine), (-sine * rate, cosine * rate)


def plane_waves(
    coordinates: Float[Array, "atoms 3"],
    indices: Float[Array, "vectors 3"],
) -> Float[Array, "atoms waves"]:
    """Cosines, then sines, of all wave vectors at the atoms.

    Args:
        coordinates: fractional; phases are most accurate near zero.
        indices: of the wave vectors.
    """
    turns = jnp.matmul(coordinates, indices.T, precision="highest")
    return jnp.concatenate(cosine_and_sine(turns), axis=1)
