"""The two sums of the Coulomb matrix, over waves and over images, unassembled."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._ewald import Ewald
from ._expansion import Expansion, circulant
from ._gaussian import COULOMB_CONSTANT
from ._lattice import dual_and_volume, fractional, squared_vectors
from ._phases import waves

# Beyond so many pairs times images they are summed one by one, to stay in the caches.
_AT_ONCE = 2**19


class CoulombSums(eqx.Module):
    r"""The Coulomb matrix $A = N + S S^T$ kept as its sums, in eV/e².

    Derivatives through its product with charges cost atoms times waves and pairs times
    images; through the assembled matrix they would cost pairs times waves.

    The charges are one an atom, or, of degree 1, all charges followed by the x, the y
    and the z of all dipoles.

    Attributes:
        near: what is summed over images, or all of the matrix of an open structure,
            1/Å.
        smooth: waves at the atoms, whose products are the sum over wave vectors.
        wide: the same without smearing, for pairs with a wide Gaussian; or None.
        narrow: which atoms are not wide.
    """

    near: Float[Array, "charges charges"]
    smooth: Float[Array, "charges waves"] | None = None
    wide: Float[Array, "charges waves"] | None = None
    narrow: Bool[Array, " charges"] | None = None

    def __call__(self, charges: Float[Array, " charges"]) -> Float[Array, " charges"]:
        """The potential at the atoms, eV/e, and its slopes; zero on padding.

        Args:
            charges: e; of dipoles e Å.
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

    def matrix(self) -> Float[Array, "charges charges"]:
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
    expansion: Expansion,
) -> CoulombSums:
    """The matrix of an open structure: every pair once."""
    apart = circulant(positions) - positions[:, None]
    interaction = expansion.interaction(_pair_variance(widths))
    matrix = expansion.matrix(interaction(jnp.moveaxis(apart, -1, 0)))
    return CoulombSums(_where_both(jnp.tile(mask, expansion.kinds), matrix))


def periodic_sums(
    positions: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    cell: Float[Array, "3 3"],
    ewald: Ewald,
    mask: Bool[Array, " atoms"],
    sound: Float[Array, ""],
    expansion: Expansion,
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
        expansion: what an atom carries.
    """
    dual, volume = dual_and_volume(cell)
    coordinates = fractional(positions, dual)
    indices = ewald.indices.astype(cell.dtype)
    squared = squared_vectors(indices, dual, ewald.valid)
    vectors = 2 * math.pi * jnp.matmul(indices, dual, precision="highest")
    phases = expansion.waves(waves(coordinates, indices), vectors)
    # Both k and -k are counted.
    amplitudes = sound * jnp.sqrt(8 * math.pi / (volume * squared))
    amplitudes = jnp.where(ewald.valid, amplitudes, 0.0)
    every = lambda values: jnp.tile(values, expansion.kinds)

    def of_width(widths, live):
        damped = amplitudes * jnp.exp(-0.5 * widths[:, None] ** 2 * squared)
        damped = jnp.where(live[:, None], damped, 0.0)
        return phases * jnp.tile(damped, (expansion.kinds, 2))

    smear = ewald.smear.astype(cell.dtype)
    smeared = jnp.maximum(widths, smear)
    narrow = mask & (widths < math.sqrt(2) * smear) if ewald.wide else mask
    smooth = of_width(smeared, narrow)
    near = jnp.zeros((len(smooth), len(smooth)), cell.dtype)
    if ewald.images.shape[0] > 0:
        pairs = _images_of_narrow(coordinates, widths, smeared, cell, ewald, expansion)
        # The k = 0 that the reciprocal sum leaves out and the images hold.
        variance = _pair_variance(widths) - _pair_variance(smeared)
        pairs = sound * pairs.at[0].add((2 * math.pi / volume) * variance)
        near = _where_both(every(narrow), expansion.matrix(pairs))
    if not ewald.wide:
        return CoulombSums(near, smooth)
    return CoulombSums(near, smooth, of_width(widths, mask), every(narrow | ~mask))


def _images_of_narrow(
    coordinates: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    smeared: Float[Array, " atoms"],
    cell: Float[Array, "3 3"],
    ewald: Ewald,
    expansion: Expansion,
) -> Float[Array, "terms atoms half"]:
    """What narrow Gaussians have more than smeared ones at short range, 1/Å."""
    apart = circulant(coordinates) - coordinates[:, None]
    window = ewald.window.astype(cell.dtype)
    apart = apart - jax.lax.stop_gradient(jnp.floor(apart + window))
    # Axis by axis: sums over three neighbouring numbers are slow.
    separation = jnp.moveaxis(jnp.matmul(apart, cell, precision="highest"), -1, 0)
    true = expansion.interaction(_pair_variance(widths))
    wide = expansion.interaction(_pair_variance(smeared))

    def term(translation, valid):
        moved = separation + translation[:, None, None]
        return jnp.where(valid, true(moved) - wide(moved), 0.0)

    translations = jnp.matmul(
        ewald.images.astype(cell.dtype), cell, precision="highest"
    )
    images = translations, ewald.image_valid
    if len(translations) * separation[0].size <= _AT_ONCE:
        return jnp.sum(jax.vmap(term)(*images), axis=0)
    nothing = jnp.zeros_like(term(*(values[0] for values in images)))
    add = jax.checkpoint(lambda total, image: (total + term(*image), None))
    return jax.lax.scan(add, nothing, images)[0]


def _pair_variance(widths: Float[Array, " atoms"]) -> Float[Array, "atoms half"]:
    return widths[:, None] ** 2 + circulant(widths) ** 2


def _where_both(
    chosen: Bool[Array, " atoms"], matrix: Float[Array, "atoms atoms"]
) -> Float[Array, "atoms atoms"]:
    return jnp.where(chosen[:, None] & chosen, matrix, 0.0)


def _product(
    matrix: Float[Array, "rows inner"], other: Float[Array, " inner *columns"]
) -> Float[Array, " rows *columns"]:
    return jnp.matmul(matrix, other, precision="highest")
