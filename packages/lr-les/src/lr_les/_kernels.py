"""Potentials of Gaussian charges at the atoms, in units of the Coulomb constant."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._grid import KGrid
from ._lattice import reciprocal


def erf_over_r(
    squared: Float[Array, "*pairs"], sigma: Float[Array, ""]
) -> Float[Array, "*pairs"]:
    r"""$\operatorname{erf}(r/(\sqrt2\sigma))/r$ of $r^2$ (Å²), smooth at $r = 0$, 1/Å.

    Near zero a power series in $u = r^2/(2\sigma^2)$ stands in. Each branch is given
    harmless arguments where the other is meant, so that no derivative is NaN.
    """
    u = squared / (2 * sigma**2)
    near = u < 0.25
    small, large = jnp.where(near, u, 0.0), jnp.where(near, 1.0, u)
    series = jnp.zeros_like(u)
    for n in reversed(range(13)):
        series = series * small + (-1) ** n / (math.factorial(n) * (2 * n + 1))
    root = jnp.sqrt(large)
    far = jax.scipy.special.erf(root) / root
    ratio = jnp.where(near, 2 / math.sqrt(math.pi) * series, far)
    return ratio / (math.sqrt(2) * sigma)


def open_potential(
    charges: Float[Array, "atoms charge_channels"],
    positions: Float[Array, "atoms 3"],
    sigma: Float[Array, ""],
) -> Float[Array, "atoms charge_channels"]:
    """Potential at the atoms in units of k_e, own charge included, e/Å."""
    separation = positions[:, None] - positions[None, :]
    kernel = erf_over_r(jnp.sum(separation**2, axis=-1), sigma)
    return jnp.matmul(kernel, charges, precision="highest")


def periodic_potential(
    charges: Float[Array, "atoms charge_channels"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    sigma: Float[Array, ""],
    grid: KGrid,
) -> Float[Array, "atoms charge_channels"]:
    """Potential at the atoms in units of k_e, own charge included, e/Å."""
    dual, volume = reciprocal(cell)
    indices = grid.indices.astype(cell.dtype)
    k = 2 * math.pi * jnp.matmul(indices, dual, precision="highest")
    squared = jnp.where(grid.valid, jnp.sum(k * k, axis=1), 1.0)
    kernel = jnp.exp(-0.5 * sigma**2 * squared) / squared
    kernel = (8 * math.pi / volume) * kernel * grid.weights(squared, grid.valid)
    # Whole lattice vectors do not change the phases; without them they are accurate.
    fractional = jnp.matmul(positions, dual.T, precision="highest")
    fractional = fractional - jax.lax.stop_gradient(jnp.round(fractional))
    phases = 2 * math.pi * jnp.matmul(fractional, indices.T, precision="highest")
    potential = jnp.zeros_like(charges)
    for wave in (jnp.cos(phases), jnp.sin(phases)):
        structure_factor = jnp.matmul(wave.T, charges, precision="highest")
        weighted = kernel[:, None] * structure_factor
        potential = potential + jnp.matmul(wave, weighted, precision="highest")
    return potential
