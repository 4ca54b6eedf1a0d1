"""The reciprocal sum, vector by vector, as products of matrices."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._blocks import in_blocks
from ._grid import KGrid
from ._kernels import AbstractKernel
from ._lattice import reciprocal
from ._multipoles import Multipoles

# Above this size the waves of all pairs are not held at once.
_WAVE_BYTES = 2**27


def direct_potential(
    moments: Multipoles,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    kernel: AbstractKernel,
    sigma: Float[Array, ""],
    grid: KGrid,
) -> Multipoles:
    r"""The derivative of the periodic energy by every moment, own moments included.

    $$ E = \frac{1}{2V} \sum_k w(k) \phi(k) |S(k)|^2, \qquad
       S(k) = \sum_i (q_i + i k \cdot u_i - \tfrac12 k \cdot Q_i k) e^{ik \cdot r_i} $$

    A wave is the product of one over $(n_1, n_2)$ and one over $n_3$, so that structure
    factors are products of matrices over the atoms: no wave is formed per atom and
    vector, and memory grows as atoms times pairs. Large systems take the pairs in
    blocks, one after the other, and recompute each for derivatives.
    """
    frame = _Frame(positions, cell, kernel, sigma, grid)
    count, size = grid.pairs.shape[0], moments.charges.size
    waves = 2 * (1 + moments.degree) * size * positions.dtype.itemsize
    block = max(32, _WAVE_BYTES // max(waves, 1))
    potential = jax.grad(_background)(moments, frame)
    if count <= block:
        own = jax.grad(_energy_of_pairs)(moments, frame, grid.pairs, grid.valid)
        return jax.tree.map(jnp.add, potential, own)

    @jax.checkpoint
    def add(potential, pairs_and_valid):
        own = jax.grad(_energy_of_pairs)(moments, frame, *pairs_and_valid)
        return jax.tree.map(jnp.add, potential, own), None

    return jax.lax.scan(add, potential, in_blocks((grid.pairs, grid.valid), block))[0]


class _Frame(eqx.Module):
    """Positions and weights in the reduced basis of the lattice."""

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
        # Whole lattice vectors change no phase; without them phases are accurate.
        fractional = jnp.matmul(positions, self.dual.T, precision="highest")
        self.fractional = fractional - jax.lax.stop_gradient(jnp.round(fractional))
        self.sigma, self.kernel, self.grid = sigma, kernel, grid

    def weights(
        self, pairs: Float[Array, "pairs 2"], valid: Bool[Array, " pairs"], sign: float
    ) -> Float[Array, "pairs depth"]:
        r"""$w \phi / V$ of the vectors $(n_1, n_2, \pm n_3)$; half on their axis."""
        third = self.grid.depth.astype(pairs.dtype)
        plane = jnp.matmul(pairs, self.dual[:2], precision="highest")
        k = 2 * math.pi * (plane[:, None] + sign * third[:, None] * self.dual[2])
        squared = jnp.sum(k * k, axis=-1)
        axis = jnp.all(pairs == 0, axis=1)[:, None]
        meant = valid[:, None] & ~(axis & (third == 0)) & ((sign > 0) | (third > 0))
        squared = jnp.where(meant, squared, 1.0)
        weights = self.kernel.spectrum(squared, self.sigma) * self.grid.window(squared)
        return jnp.where(meant, weights * jnp.where(axis, 0.5, 1.0), 0.0) / self.volume


def _background(moments: Multipoles, frame: _Frame) -> Float[Array, ""]:
    """The term at k = 0, of those kernels that have one."""
    total = jnp.sum(moments.charges, axis=0)
    return 0.5 * frame.kernel.background(frame.sigma) * jnp.sum(total**2) / frame.volume


def _energy_of_pairs(
    moments: Multipoles,
    frame: _Frame,
    pairs: Int[Array, "pairs 2"],
    valid: Bool[Array, " pairs"],
) -> Float[Array, ""]:
    whole = pairs.astype(frame.fractional.dtype)
    third = frame.grid.depth.astype(whole.dtype)
    lines = _waves_of_pairs(moments.along(frame.dual), frame, whole)
    phases = 2 * math.pi * frame.fractional[:, 2:] * third
    columns = jnp.concatenate([jnp.cos(phases), jnp.sin(phases)], axis=1)
    shape = lines.shape[1:]
    sums = jnp.matmul(lines.reshape(len(lines), -1).T, columns, precision="highest")
    # Axes: powers, channels, real and imaginary, pairs, cosine and sine, depth.
    sums = sums.reshape(*shape, 2, len(third))
    energy = jnp.zeros((), whole.dtype)
    for sign in (1.0, -1.0):
        real = sums[:, :, 0, :, 0] - sign * sums[:, :, 1, :, 1]
        imaginary = sign * sums[:, :, 0, :, 1] + sums[:, :, 1, :, 0]
        powers = jnp.stack([(sign * third) ** n for n in range(shape[0])])
        real = jnp.sum(real * powers[:, None, None], axis=0)
        imaginary = jnp.sum(imaginary * powers[:, None, None], axis=0)
        weights = frame.weights(whole, valid, sign)
        energy = energy + jnp.sum(weights * (real**2 + imaginary**2))
    return energy


def _waves_of_pairs(
    scaled: Multipoles, frame: _Frame, pairs: Float[Array, "pairs 2"]
) -> Float[Array, "atoms powers charge_channels 2 pairs"]:
    r"""The moments times $e^{2\pi i (n_1 f_1 + n_2 f_2)}$, one row a power of $n_3$."""
    phases = jnp.matmul(frame.fractional[:, :2], pairs.T, precision="highest")
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
    r"""Both parts of $q + ik \cdot u - k \cdot Q k/2$, by powers of $n_3$."""
    zeroth, first, second = (scaled.charges[:, :, None], 0.0), None, None
    turn = 2 * math.pi
    if scaled.dipoles is not None:
        plane = jnp.matmul(scaled.dipoles[..., :2], pairs.T, precision="highest")
        zeroth = (zeroth[0], turn * plane)
        first = (0.0, turn * scaled.dipoles[..., 2:])
    if scaled.quadrupoles is not None and first is not None:
        inner = jnp.matmul(pairs, scaled.quadrupoles[..., :2, :2], precision="highest")
        outer = jnp.matmul(
            scaled.quadrupoles[..., 2, None, :2], pairs.T, precision="highest"
        )
        zeroth = (zeroth[0] - turn**2 / 2 * jnp.sum(inner * pairs, -1), zeroth[1])
        first = (-(turn**2) * outer[..., 0, :], first[1])
        second = (-(turn**2) / 2 * scaled.quadrupoles[..., 2, 2:], 0.0)
    return [part for part in (zeroth, first, second) if part is not None]
