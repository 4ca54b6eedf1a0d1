"""Weights of reciprocal vectors: Gaussian shells and spherical harmonics."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._coupling import harmonic_coupling, solid_harmonics
from ._shell import ShellGrid, shell_ends, shell_norm
from ._waves import Waves


def weighted_bands(
    grid: ShellGrid,
    dual: Float[Array, "3 3"],
    frequencies: Float[np.ndarray, " pairs"],
    shell_thickness: float,
    coupling: Float[Array, "output harmonic components"],
) -> list[Waves]:
    """Returns the waves of each band, weighted by the shells that extend to it."""
    waves = weighted_waves(grid, dual, frequencies, shell_thickness, coupling)
    ends, bands, first = shell_ends(frequencies, shell_thickness), [], 0
    for size, start in grid.bands:
        extends = ends > start
        if extends.any():
            select = lambda x, band=slice(first, first + size): x[band]
            # Frequencies of a layer ascend; otherwise some of these weights are zero.
            weights = waves.weights[:, int(np.argmax(extends)) :]
            band = Waves(waves.vectors, weights, waves.even, waves.odd)
            bands.append(jax.tree.map(select, band))
        first += size
    return bands


def weighted_waves(
    grid: ShellGrid,
    dual: Float[Array, "3 3"],
    frequencies: Float[np.ndarray, " pairs"],
    shell_thickness: float,
    coupling: Float[Array, "output harmonic components"],
) -> Waves:
    """Returns the waves of the whole grid with the weights of all shells."""
    indices = grid.indices.astype(dual.dtype)
    vectors = 2 * math.pi * jnp.matmul(indices, dual, precision="highest")
    nonzero = jnp.any(grid.indices != 0, axis=1)
    # K = 0 has no direction: its harmonics are zero except for l = 0.
    squared = jnp.where(nonzero, jnp.sum(vectors**2, axis=1), 1.0)
    length = jnp.where(nonzero, jnp.sqrt(squared), 0.0)
    directions = vectors / jnp.sqrt(squared)[:, None]
    harmonics = solid_harmonics(directions, math.isqrt(coupling.shape[1]) - 1)
    even, odd = harmonic_coupling(harmonics, coupling)
    norm = jnp.asarray(shell_norm(frequencies, shell_thickness), dual.dtype)
    distance = (
        length[:, None] - jnp.asarray(frequencies, dual.dtype)
    ) / shell_thickness
    ends = jnp.asarray(shell_ends(frequencies, shell_thickness), dual.dtype)
    cutoff = _window(length[:, None], ends, shell_thickness)
    multiplicity = jnp.where(grid.valid, jnp.where(nonzero, 2.0, 1.0), 0.0)
    weights = multiplicity[:, None] * cutoff * norm * jnp.exp(-0.5 * distance**2)
    return Waves(indices, weights, even, odd)


def _window(
    length: Float[Array, "vectors 1"],
    end: Float[Array, " pairs"],
    shell_thickness: float,
) -> Float[Array, "vectors pairs"]:
    """Falls from one to zero over `shell_thickness` before each end, smoothly."""
    x = jnp.clip(1 - (end - length) / shell_thickness, 0.0, 1.0)
    return 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
