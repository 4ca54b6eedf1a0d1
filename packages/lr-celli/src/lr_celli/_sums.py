"""The real-space and reciprocal sums of the Coulomb matrix."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._cell import dual_and_volume, fractional, squared_lengths
from ._ewald import Ewald
from ._gaussian import COULOMB_CONSTANT
from ._multipoles import Multipoles, circulant
from ._plane_waves import plane_waves

# Above this number of pairs times images, a scan over images uses less memory and is
# faster than one vectorized sum.
_MAX_VECTORIZED = 2**19


class CoulombSums(eqx.Module):
    r"""The Coulomb matrix $A = N + S S^T$ as separate real-space and reciprocal sums.

    Derivatives of its product with charges cost atoms times waves plus pairs times
    images. Derivatives of the assembled matrix cost pairs times waves.

    A vector has one charge per atom or, for degree 1, all charges followed by the x,
    the y and the z components of all dipoles.

    Attributes:
        real_space: the sum over images $N$, or the full matrix of an open structure,
            1/Å.
        reciprocal: the structure factors $S$ of smeared Gaussians.
        reciprocal_wide: the structure factors without smearing, used for all pairs with
            a wide Gaussian; None if the plan has no wide Gaussians.
        is_narrow: true for charges whose Gaussian is not wide, and on padding.
    """

    real_space: Float[Array, "charges charges"]
    reciprocal: Float[Array, "charges waves"] | None = None
    reciprocal_wide: Float[Array, "charges waves"] | None = None
    is_narrow: Bool[Array, " charges"] | None = None

    def __call__(self, charges: Float[Array, " charges"]) -> Float[Array, " charges"]:
        """The potential at the atoms (eV/e) and its gradient; zero on padding.

        Args:
            charges: e; dipoles in e Å.
        """
        potential = _product(self.real_space, charges)
        if self.reciprocal is not None:
            factors = _product(self.reciprocal.T, charges)
            potential += _product(self.reciprocal, factors)
        if self.reciprocal_wide is not None and self.is_narrow is not None:
            # Pairs of two narrow Gaussians are excluded from this sum.
            wide, narrow = self.reciprocal_wide, self.is_narrow
            from_wide = _product(wide.T, jnp.where(narrow, 0.0, charges))
            from_narrow = _product(wide.T, jnp.where(narrow, charges, 0.0))
            potential += _product(wide, from_wide)
            potential += jnp.where(narrow, 0.0, _product(wide, from_narrow))
        return COULOMB_CONSTANT * potential

    def matrix(self) -> Float[Array, "charges charges"]:
        """The matrix, eV/e²; rows and columns of padding are zero."""
        matrix = self.real_space
        if self.reciprocal is not None:
            matrix = matrix + _product(self.reciprocal, self.reciprocal.T)
        if self.reciprocal_wide is not None and self.is_narrow is not None:
            wide, narrow = self.reciprocal_wide, self.is_narrow
            both_narrow = narrow[:, None] & narrow
            matrix += jnp.where(both_narrow, 0.0, _product(wide, wide.T))
        return COULOMB_CONSTANT * matrix


def open_sums(
    positions: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    mask: Bool[Array, " atoms"],
    multipoles: Multipoles,
) -> CoulombSums:
    """The matrix of an open structure; each pair is computed once."""
    separation = circulant(positions) - positions[:, None]
    interaction = multipoles.interaction(_pair_variance(widths))
    matrix = multipoles.matrix(interaction(jnp.moveaxis(separation, -1, 0)))
    return CoulombSums(_where_both(jnp.tile(mask, multipoles.components), matrix))


def periodic_sums(
    positions: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    cell: Float[Array, "3 3"],
    plan: Ewald,
    mask: Bool[Array, " atoms"],
    validity: Float[Array, ""],
    multipoles: Multipoles,
) -> CoulombSums:
    """The sums of a periodic structure.

    Args:
        positions: Å.
        widths: Å.
        cell: rows are lattice vectors, Å.
        plan: terms of the sums.
        mask: false on padding.
        validity: 1, or NaN if the plan does not cover the structure. It multiplies the
            terms, so that gradients are NaN too.
        multipoles: charges, or charges and dipoles.
    """
    dual, volume = dual_and_volume(cell)
    coordinates = fractional(positions, dual)
    indices = plan.indices.astype(cell.dtype)
    squared = squared_lengths(indices, dual, plan.valid)
    vectors = 2 * math.pi * jnp.matmul(indices, dual, precision="highest")
    factors = multipoles.structure_factors(plane_waves(coordinates, indices), vectors)
    # Includes both k and -k.
    amplitudes = validity * jnp.sqrt(8 * math.pi / (volume * squared))
    amplitudes = jnp.where(plan.valid, amplitudes, 0.0)
    per_component = lambda values: jnp.tile(values, multipoles.components)

    def damped_factors(widths, included):
        damped = amplitudes * jnp.exp(-0.5 * widths[:, None] ** 2 * squared)
        damped = jnp.where(included[:, None], damped, 0.0)
        return factors * jnp.tile(damped, (multipoles.components, 2))

    smearing = plan.smearing.astype(cell.dtype)
    smeared = jnp.maximum(widths, smearing)
    narrow = (
        mask & (widths < math.sqrt(2) * smearing) if plan.has_wide_gaussians else mask
    )
    reciprocal = damped_factors(smeared, narrow)
    real_space = jnp.zeros((len(reciprocal), len(reciprocal)), cell.dtype)
    if plan.images.shape[0] > 0:
        pairs = _sum_over_images(coordinates, widths, smeared, cell, plan, multipoles)
        # The k = 0 term, included in the images and omitted from the reciprocal sum.
        variance = _pair_variance(widths) - _pair_variance(smeared)
        pairs = validity * pairs.at[0].add((2 * math.pi / volume) * variance)
        real_space = _where_both(per_component(narrow), multipoles.matrix(pairs))
    if not plan.has_wide_gaussians:
        return CoulombSums(real_space, reciprocal)
    wide, is_narrow = damped_factors(widths, mask), per_component(narrow | ~mask)
    return CoulombSums(real_space, reciprocal, wide, is_narrow)


def _sum_over_images(
    coordinates: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    smeared: Float[Array, " atoms"],
    cell: Float[Array, "3 3"],
    plan: Ewald,
    multipoles: Multipoles,
) -> Float[Array, "terms atoms half"]:
    """Interactions of the true widths minus those of smeared Gaussians, 1/Å."""
    fractional = circulant(coordinates) - coordinates[:, None]
    offset = plan.wrap_offset.astype(cell.dtype)
    fractional = fractional - jax.lax.stop_gradient(jnp.floor(fractional + offset))
    # The axes come first, since sums over a last axis of length three are slow.
    separation = jnp.matmul(fractional, cell, precision="highest")
    separation = jnp.moveaxis(separation, -1, 0)
    true = multipoles.interaction(_pair_variance(widths))
    wide = multipoles.interaction(_pair_variance(smeared))

    def term(translation, valid):
        image = separation + translation[:, None, None]
        return jnp.where(valid, true(image) - wide(image), 0.0)

    translations = jnp.matmul(plan.images.astype(cell.dtype), cell, precision="highest")
    images = translations, plan.image_valid
    if len(translations) * separation[0].size <= _MAX_VECTORIZED:
        return jnp.sum(jax.vmap(term)(*images), axis=0)
    zeros = jnp.zeros_like(term(*(values[0] for values in images)))
    add = jax.checkpoint(lambda total, image: (total + term(*image), None))
    return jax.lax.scan(add, zeros, images)[0]


def _pair_variance(widths: Float[Array, " atoms"]) -> Float[Array, "atoms half"]:
    return widths[:, None] ** 2 + circulant(widths) ** 2


def _where_both(
    included: Bool[Array, " atoms"], matrix: Float[Array, "atoms atoms"]
) -> Float[Array, "atoms atoms"]:
    return jnp.where(included[:, None] & included, matrix, 0.0)


def _product(
    matrix: Float[Array, "rows inner"], other: Float[Array, " inner *columns"]
) -> Float[Array, " rows *columns"]:
    return jnp.matmul(matrix, other, precision="highest")
