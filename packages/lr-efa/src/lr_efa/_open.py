"""The open form of the attention: pairs of atoms, or a quadrature over directions."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._arguments import Features, centered, is_traced, zero_padding
from ._coupling import harmonic_coupling, solid_harmonics
from ._lebedev import LebedevGrid
from ._method import one_within_reach
from ._pairs import attend_pairwise
from ._waves import RotaryPhases, Waves, attend_with_waves


def attend_open(
    features: Features,
    positions: Float[Array, "atoms 3"],
    mask: Bool[Array, " atoms"],
    frequencies: Float[Array | np.ndarray, " pairs"],
    tensor: Float[Array | np.ndarray, "output harmonic components"],
    grid: LebedevGrid | None,
    *,
    normalize: bool,
) -> Float[Array, "atoms output v"]:
    """Attention in open boundaries; `grid` is None for the exact sum over pairs."""
    query, key, value, positions = zero_padding(mask, *features, positions)
    positions = centered(positions, mask)
    omegas = jnp.asarray(frequencies, value.dtype)
    tensor = jnp.asarray(tensor, value.dtype)
    if grid is None:
        result = attend_pairwise(query, key, value, positions, omegas, tensor)
    else:
        phases = _rotary_phases(positions, frequencies)
        waves = _quadrature_waves(grid, tensor)
        result = attend_with_waves(query, key, value, phases, waves)
        if is_traced(positions, omegas):
            # Multiplied instead of selected with `where`, so that gradients are NaN
            # too.
            result = result * one_within_reach(grid, positions, omegas)
    divisor = query.shape[-1] ** 0.5
    if normalize:
        divisor = divisor * jnp.maximum(jnp.sum(mask), 1).astype(value.dtype)
    return jnp.where(mask[:, None, None], result / divisor, 0.0)


def _rotary_phases(
    positions: Float[Array, "atoms 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
) -> RotaryPhases:
    """Phases of positions; equally spaced frequencies become multiples of one phase."""
    if not is_traced(frequencies):
        omegas = np.asarray(frequencies)
        step = float(omegas[min(1, len(omegas) - 1)])
        rounding = 4 * np.finfo(omegas.dtype).eps * np.max(np.abs(omegas))
        if np.all(np.abs(omegas - step * np.arange(len(omegas))) <= rounding):
            return RotaryPhases(step * positions[:, None], len(omegas))
    omegas = jnp.asarray(frequencies, positions.dtype)
    return RotaryPhases(positions[:, None] * omegas[:, None], None)


def _quadrature_waves(
    grid: LebedevGrid, coupling: Float[Array, "output harmonic components"]
) -> Waves:
    vectors, weights = (jnp.asarray(x, coupling.dtype) for x in grid.half_sphere())
    harmonics = solid_harmonics(vectors, math.isqrt(coupling.shape[1]) - 1)
    even, odd = harmonic_coupling(harmonics, coupling)
    return Waves(vectors, weights[:, None], even, odd)
