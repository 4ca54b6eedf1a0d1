"""The two sums of the Coulomb matrix, over waves and over images, unassembled."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._ewald import Ewald
from ._gaussian import COULOMB_CONSTANT, gaussian_interaction
from ._lattice import dual_and_volume, fractional, squared_vectors
from ._phases import waves

# Beyond so many pairs times images they are summed one by one, to save memory.
_AT_ONCE = 2**21


class CoulombSums(eqx.Module):
    r"""The Coulomb matrix $A = N + S S^T$ kept as its sums, in eV/e².

    Derivatives through its product with charges cost atoms times waves and pairs times
    images; through the assembled matrix they would cost pairs times waves.

    Attributes:
        near: what is summed over images, or all of the matrix of an open structure,
            1/Å.
        smooth: waves at the atoms, whose products are the sum over wave vectors.
        wide: the same without smearing, for pairs with a wide Gaussian; or None.
        narrow: which atoms are not wide.
    """

    near: Float[Array, "atoms atoms"]
    smooth: Float[Array, "atoms waves"] | None = None
    wide: Float[Array, "atoms waves"] | None = None
    narrow: Bool[Array, " atoms"] | None = None

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """The potential at the atoms, eV/e; zero on padding.

        Args:
            charges: e.
        """
        potential = _product(self.near, charges)
        if self.smooth is not None:
            potential += _product(self.smooth, _product(self.smooth.T, charges))
        if self.wide is not None and self.narrow is not None:
            # Wide atoms meet all others in these waves, narrow ones the wide alone.
            few = _product(self.wide.T, jnp.where(self.narrow, 0.0, charges))
            rest = _product(self.wide.T, jnp.where(self.narrow, charges, 0.0))
            potential += _product(self.wide, few)
            potential += jnp.where(self.narrow, 0.0, _product(self.wide, rest))
        return COULOMB_CONSTANT * potential

    def matrix(self) -> Float[Array, "atoms atoms"]:
        """The matrix, eV/e²; rows and columns of padding are zero."""
        matrix = self.near
        if self.smooth is not None:
            matrix = matrix + _product(self.smooth, self.smooth.T)
        if self.wide is not None and self.narrow is not None:
            both = self.narrow[:, None] & self.narrow
            matrix += jnp.where(both, 0.0, _product(self.wide, self.wide.T))
        return COULOMB_CONSTANT * matrix


def open_sums(
    positions: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    mask: Bool[Array, " atoms"],
) -> CoulombSums:
    """The matrix of an open structure: every pair once."""
    apart = _circulant(positions) - positions[:, None]
    pairs = gaussian_interaction(jnp.sum(apart**2, axis=-1), _pair_variance(widths))
    return CoulombSums(_where_both(mask, _symmetric(pairs)))


def periodic_sums(
    positions: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    cell: Float[Array, "3 3"],
    ewald: Ewald,
    mask: Bool[Array, " atoms"],
    sound: Float[Array, ""],
) -> CoulombSums:
    """The sums of a periodic structure.

    Args:
        positions: Å.
        widths: Å.
        cell: rows are lattice vectors, Å.
        ewald: the split.
        mask: false on padding.
        sound: 1, or NaN where the split does not cover the structure. Multiplied, not
            selected: the gradients of an uncovered structure are NaN too.
    """
    dual, volume = dual_and_volume(cell)
    coordinates = fractional(positions, dual)
    indices = ewald.indices.astype(cell.dtype)
    squared = squared_vectors(indices, dual, ewald.valid)
    phases = waves(coordinates, indices)
    # Both k and -k are counted.
    amplitudes = sound * jnp.sqrt(8 * math.pi / (volume * squared))
    amplitudes = jnp.where(ewald.valid, amplitudes, 0.0)

    def of_width(widths, live):
        damped = amplitudes * jnp.exp(-0.5 * widths[:, None] ** 2 * squared)
        return jnp.where(live[:, None], phases * jnp.tile(damped, 2), 0.0)

    smear = ewald.smear.astype(cell.dtype)
    smeared = jnp.maximum(widths, smear)
    narrow = mask & (widths < math.sqrt(2) * smear) if ewald.wide else mask
    near = jnp.zeros((len(widths), len(widths)), cell.dtype)
    if ewald.images.shape[0] > 0:
        pairs = _images_of_narrow(coordinates, widths, smeared, cell, ewald)
        # The k = 0 that the reciprocal sum leaves out and the images hold.
        variance = _pair_variance(widths) - _pair_variance(smeared)
        pairs = sound * (pairs + (2 * math.pi / volume) * variance)
        near = _where_both(narrow, _symmetric(pairs))
    smooth = of_width(smeared, narrow)
    if not ewald.wide:
        return CoulombSums(near, smooth)
    return CoulombSums(near, smooth, of_width(widths, mask), narrow | ~mask)


def _images_of_narrow(
    coordinates: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    smeared: Float[Array, " atoms"],
    cell: Float[Array, "3 3"],
    ewald: Ewald,
) -> Float[Array, "atoms half"]:
    """What narrow Gaussians have more than smeared ones at short range, 1/Å."""
    apart = _circulant(coordinates) - coordinates[:, None]
    window = ewald.window.astype(cell.dtype)
    apart = apart - jax.lax.stop_gradient(jnp.floor(apart + window))
    separation = jnp.matmul(apart, cell, precision="highest")
    true, wide = _pair_variance(widths), _pair_variance(smeared)

    def term(translation, valid):
        squared = jnp.sum((separation + translation) ** 2, axis=-1)
        term = gaussian_interaction(squared, true) - gaussian_interaction(squared, wide)
        return jnp.where(valid, term, 0.0)

    translations = jnp.matmul(
        ewald.images.astype(cell.dtype), cell, precision="highest"
    )
    images = translations, ewald.image_valid
    if len(translations) * true.size <= _AT_ONCE:
        return jnp.sum(jax.vmap(term)(*images), axis=0)
    add = jax.checkpoint(lambda total, image: (total + term(*image), None))
    return jax.lax.scan(add, jnp.zeros_like(true), images)[0]


def _circulant(
    values: Float[Array, " atoms *rest"],
) -> Float[Array, "atoms half *rest"]:
    """The values at `i + d`, cyclically, for `d` up to half the atoms: every pair once.

    A tiling read with rows longer by one, so that derivatives gather nothing.
    """
    atoms, rest = values.shape[0], values.shape[1:]
    tiled = jnp.tile(values, (atoms + 1, *(1 for _ in rest)))
    return tiled.reshape(atoms, atoms + 1, *rest)[:, : atoms // 2 + 1]


def _symmetric(pairs: Float[Array, "atoms half"]) -> Float[Array, "atoms atoms"]:
    """The symmetric matrix of the pairs that `_circulant` lists."""
    atoms, half = pairs.shape
    weights = jnp.ones(half).at[0].set(0.5)
    if atoms % 2 == 0:
        weights = weights.at[-1].set(0.5)
    rows = jnp.pad(pairs * weights.astype(pairs.dtype), ((0, 0), (0, atoms - half)))
    flat = jnp.tile(rows, 2).reshape(-1)[atoms:]
    matrix = flat.reshape(atoms, 2 * atoms - 1)[:, :atoms]
    return matrix + matrix.T


def _pair_variance(widths: Float[Array, " atoms"]) -> Float[Array, "atoms half"]:
    return widths[:, None] ** 2 + _circulant(widths) ** 2


def _where_both(
    chosen: Bool[Array, " atoms"], matrix: Float[Array, "atoms atoms"]
) -> Float[Array, "atoms atoms"]:
    return jnp.where(chosen[:, None] & chosen, matrix, 0.0)


def _product(
    matrix: Float[Array, "rows inner"], other: Float[Array, " inner *columns"]
) -> Float[Array, " rows *columns"]:
    return jnp.matmul(matrix, other, precision="highest")
