"""The direct reciprocal sum over vectors, as matrix products."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._blocks import split_into_blocks
from ._grid import KGrid
from ._kernels import AbstractKernel
from ._lattice import reciprocal
from ._multipoles import Multipoles

# Maximum size of the array of plane waves; larger sums are computed in blocks.
_WAVE_BYTES = 2**27


def direct_potential(
    moments: Multipoles,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    kernel: AbstractKernel,
    sigma: Float[Array, ""],
    grid: KGrid,
) -> Multipoles:
    r"""Derivative of the periodic energy with respect to every multipole moment.

    $$ E = \frac{1}{2V} \sum_k w(k) \phi(k) |S(k)|^2, \qquad
       S(k) = \sum_i (q_i + i k \cdot u_i - \tfrac12 k \cdot Q_i k) e^{ik \cdot r_i} $$

    The self interaction is included. A plane wave is the product of one over
    $(n_1, n_2)$ and one over $n_3$. Structure factors are therefore matrix products
    over the atoms, without an array per atom and vector; memory is proportional to
    atoms times index pairs. Large systems process the index pairs in blocks, which are
    rematerialized in the backward pass.
    """
    lattice = _ReducedLattice(positions, cell, kernel, sigma, grid)
    count, size = grid.index_pairs.shape[0], moments.charges.size
    wave_bytes = 2 * (1 + moments.degree) * size * positions.dtype.itemsize
    block_size = max(32, _WAVE_BYTES // max(wave_bytes, 1))
    potential = jax.grad(_background)(moments, lattice)
    if count <= block_size:
        block_potential = jax.grad(_energy_of_pairs)(
            moments, lattice, grid.index_pairs, grid.valid
        )
        return jax.tree.map(jnp.add, potential, block_potential)

    @jax.checkpoint
    def add(potential, block):
        block_potential = jax.grad(_energy_of_pairs)(moments, lattice, *block)
        return jax.tree.map(jnp.add, potential, block_potential), None

    blocks = split_into_blocks((grid.index_pairs, grid.valid), block_size)
    return jax.lax.scan(add, potential, blocks)[0]


class _ReducedLattice(eqx.Module):
    """Fractional coordinates and weights of vectors in the reduced lattice basis."""

    fractional: Float[Array, "atoms 3"]
    dual: Float[Array, "3 3"]
    volume: Float[Array, ""]
    sigma: Float[Array, ""]
    kernel: AbstractKernel
    grid: KGrid

    def __init__(self, positions, cell, kernel, sigma, grid):
        basis = grid.basis.astype(cell.dtype)
        self.dual, self.volume = reciprocal(
            jnp.matmul(basis, cell, precision="highest")
        )
        # Phases are periodic in lattice vectors; small arguments are more accurate.
        fractional = jnp.matmul(positions, self.dual.T, precision="highest")
        self.fractional = fractional - jax.lax.stop_gradient(jnp.round(fractional))
        self.sigma, self.kernel, self.grid = sigma, kernel, grid

    def weights(
        self, pairs: Float[Array, "pairs 2"], valid: Bool[Array, " pairs"], sign: float
    ) -> Float[Array, "pairs depth"]:
        r"""$w \phi / V$ of $(n_1, n_2, \pm n_3)$, half of it for $n_1 = n_2 = 0$."""
        third = self.grid.third_indices.astype(pairs.dtype)
        plane = jnp.matmul(pairs, self.dual[:2], precision="highest")
        k = 2 * math.pi * (plane[:, None] + sign * third[:, None] * self.dual[2])
        squared = jnp.sum(k * k, axis=-1)
        axis = jnp.all(pairs == 0, axis=1)[:, None]
        included = valid[:, None] & ~(axis & (third == 0)) & ((sign > 0) | (third > 0))
        squared = jnp.where(included, squared, 1.0)
        transform = self.kernel.fourier_transform(squared, self.sigma)
        weights = transform * self.grid.window(squared) * jnp.where(axis, 0.5, 1.0)
        return jnp.where(included, weights, 0.0) / self.volume


def _background(moments: Multipoles, lattice: _ReducedLattice) -> Float[Array, ""]:
    """The energy of the term at k = 0, which some kernels have."""
    total = jnp.sum(moments.charges, axis=0)
    at_zero = lattice.kernel.fourier_at_zero(lattice.sigma)
    return 0.5 * at_zero * jnp.sum(total**2) / lattice.volume


def _energy_of_pairs(
    moments: Multipoles,
    lattice: _ReducedLattice,
    pairs: Int[Array, "pairs 2"],
    valid: Bool[Array, " pairs"],
) -> Float[Array, ""]:
    indices = pairs.astype(lattice.fractional.dtype)
    third = lattice.grid.third_indices.astype(indices.dtype)
    plane_waves = _waves_of_pairs(moments.to_fractional(lattice.dual), lattice, indices)
    phases = 2 * math.pi * lattice.fractional[:, 2:] * third
    axis_waves = jnp.concatenate([jnp.cos(phases), jnp.sin(phases)], axis=1)
    shape = plane_waves.shape[1:]
    sums = jnp.matmul(
        plane_waves.reshape(len(plane_waves), -1).T, axis_waves, precision="highest"
    )
    # Axes: powers, channels, real and imaginary, pairs, cosine and sine, depth.
    sums = sums.reshape(*shape, 2, len(third))
    energy = jnp.zeros((), indices.dtype)
    for sign in (1.0, -1.0):
        real = sums[:, :, 0, :, 0] - sign * sums[:, :, 1, :, 1]
        imaginary = sign * sums[:, :, 0, :, 1] + sums[:, :, 1, :, 0]
        powers = jnp.stack([(sign * third) ** n for n in range(shape[0])])
        real = jnp.sum(real * powers[:, None, None], axis=0)
        imaginary = jnp.sum(imaginary * powers[:, None, None], axis=0)
        weights = lattice.weights(indices, valid, sign)
        energy = energy + jnp.sum(weights * (real**2 + imaginary**2))
    return energy


def _waves_of_pairs(
    scaled: Multipoles, lattice: _ReducedLattice, pairs: Float[Array, "pairs 2"]
) -> Float[Array, "atoms powers charge_channels 2 pairs"]:
    r"""Moments times $e^{2\pi i (n_1 f_1 + n_2 f_2)}$, one row per power of $n_3$."""
    phases = jnp.matmul(lattice.fractional[:, :2], pairs.T, precision="highest")
    cosine, sine = (f(2 * math.pi * phases)[:, None] for f in (jnp.cos, jnp.sin))
    rows = []
    for real, imaginary in _amplitudes(scaled, pairs):
        wave = (
            real * cosine - imaginary * sine,
            real * sine + imaginary * cosine,
        )
        rows.append(jnp.stack(wave, axis=2))
    return jnp.stack(rows, axis=1)


def _amplitudes(
    scaled: Multipoles, pairs: Float[Array, "pairs 2"]
) -> list[tuple[Array | float, Array | float]]:
    r"""Real and imaginary part of $q + ik \cdot u - k Q k/2$, by power of $n_3$."""
    zeroth, first, second = (scaled.charges[:, :, None], 0.0), None, None
    two_pi = 2 * math.pi
    if scaled.dipoles is not None:
        plane = jnp.matmul(scaled.dipoles[..., :2], pairs.T, precision="highest")
        zeroth = (zeroth[0], two_pi * plane)
        first = (0.0, two_pi * scaled.dipoles[..., 2:])
    if scaled.quadrupoles is not None and first is not None:
        inner = jnp.matmul(pairs, scaled.quadrupoles[..., :2, :2], precision="highest")
        outer = jnp.matmul(
            scaled.quadrupoles[..., 2, None, :2], pairs.T, precision="highest"
        )
        zeroth = (zeroth[0] - two_pi**2 / 2 * jnp.sum(inner * pairs, -1), zeroth[1])
        first = (-(two_pi**2) * outer[..., 0, :], first[1])
        second = (-(two_pi**2) / 2 * scaled.quadrupoles[..., 2, 2:], 0.0)
    return [power for power in (zeroth, first, second) if power is not None]
