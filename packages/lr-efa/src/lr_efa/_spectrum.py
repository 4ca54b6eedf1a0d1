"""The weights of reciprocal vectors: Gaussian shells around spheres, and harmonics."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._coupling import solid_harmonics, through_harmonics
from ._shell import ShellGrid, shell_ends, shell_norm
from ._waves import Waves


def bands_of(
    grid: ShellGrid,
    dual: Float[Array, "3 3"],
    frequencies: Float[np.ndarray, " pairs"],
    width: float,
    coupling: Float[Array, "output harmonic components"],
) -> list[Waves]:
    """The vectors of each band of the grid, weighted by the shells that reach there."""
    waves = waves_of(grid, dual, frequencies, width, coupling)
    ends, bands, first = shell_ends(frequencies, width), [], 0
    for size, start in grid.bands:
        reached = ends > start
        if reached.any():
            part = lambda x, own=slice(first, first + size): x[own]
            # Frequencies ascend in layers; where they do not, some weights are zero.
            last = waves.weights[:, int(np.argmax(reached)) :]
            own = Waves(waves.vectors, last, waves.even, waves.odd)
            bands.append(jax.tree.map(part, own))
        first += size
    return bands


def waves_of(
    grid: ShellGrid,
    dual: Float[Array, "3 3"],
    frequencies: Float[np.ndarray, " pairs"],
    width: float,
    coupling: Float[Array, "output harmonic components"],
) -> Waves:
    """The vectors of the grid, weighted by the shells of all frequencies."""
    indices = grid.indices.astype(dual.dtype)
    vectors = 2 * math.pi * jnp.matmul(indices, dual, precision="highest")
    moving = jnp.any(grid.indices != 0, axis=1)
    # The direction of K = 0 is none: its harmonics vanish but for l = 0.
    squared = jnp.where(moving, jnp.sum(vectors**2, axis=1), 1.0)
    length = jnp.where(moving, jnp.sqrt(squared), 0.0)
    directions = vectors / jnp.sqrt(squared)[:, None]
    harmonics = solid_harmonics(directions, math.isqrt(coupling.shape[1]) - 1)
    even, odd = through_harmonics(harmonics, coupling)
    norm = jnp.asarray(shell_norm(frequencies, width), dual.dtype)
    away = (length[:, None] - jnp.asarray(frequencies, dual.dtype)) / width
    ends = jnp.asarray(shell_ends(frequencies, width), dual.dtype)
    ending = _window(length[:, None], ends, width)
    both = jnp.where(grid.valid, jnp.where(moving, 2.0, 1.0), 0.0)
    weights = both[:, None] * ending * norm * jnp.exp(-0.5 * away**2)
    return Waves(indices, weights, even, odd)


def _window(
    length: Float[Array, "vectors 1"], end: Float[Array, " pairs"], width: float
) -> Float[Array, "vectors pairs"]:
    """One until a width before each end, then falling to zero, smooth to order two."""
    x = jnp.clip(1 - (end - length) / width, 0.0, 1.0)
    return 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
