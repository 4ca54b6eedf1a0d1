"""The total charge (and spin) of a structure, told to each of its atoms."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ._networks import Linear


class TotalCharge(eqx.Module):
    r"""A long-range layer for the hook `"embedding"`: it names the total charge.

    $$ \Delta h_i = W (h_i + c_Q + s_S) $$

    with one learned vector for each integer charge Q and, if wanted, each spin
    multiplicity S. Without it (or another layer that knows Q) a model gives the same
    energy to all ions of a molecule. It has no energy and no charges of its own.

    Args:
        channels: width of the species embedding.
        charges: lowest and highest total charge, e; any other gives NaN.
        spins: highest multiplicity; 0 leaves the spin out. An unknown spin, 0, has a
            vector of its own; any other than 0 to `spins` gives NaN.
        key: seed of the weights.

    References:
        arXiv 2512.10989.
    """

    charge: Float[Array, "charges channels"]
    spin: Float[Array, "spins channels"] | None
    project: Linear
    lowest: int = eqx.field(static=True)
    degree: int = eqx.field(static=True, default=0)

    def __init__(
        self,
        channels: int,
        *,
        charges: tuple[int, int] = (-6, 6),
        spins: int = 0,
        key: PRNGKeyArray,
    ):
        lowest, highest = charges
        if lowest > highest or spins < 0:
            raise ValueError(
                "`charges` goes from the lowest to the highest and `spins` is not "
                f"negative, got {charges} and {spins}."
            )
        first, second, third = jr.split(key, 3)
        self.charge = jr.normal(first, (highest - lowest + 1, channels))
        self.spin = jr.normal(second, (spins + 1, channels)) if spins else None
        self.project = Linear(channels, channels, key=third)
        self.lowest = lowest
        self.degree = 0

    def __call__(
        self,
        features: Float[Array, "atoms channels"],
        positions: Float[Array, "atoms 3"],
        cell: Float[Array, "3 3"] | None,
        mask: Bool[Array, " atoms"],
        *,
        total_charge: Num[Array, ""],
        spin: Int[Array, ""] | None = None,
        **_: object,
    ) -> tuple[
        Float[Array, "atoms channels"], Float[Array, " atoms"], Float[Array, " atoms"]
    ]:
        """The update; no energies and no charges.

        Args:
            features: species embedding of every atom.
            positions: not used.
            cell: not used.
            mask: false on padding.
            total_charge: e.
            spin: multiplicity, 0 where unknown.

        Raises:
            ValueError: the layer knows spins and gets none.
        """
        del positions, cell
        told = _row(self.charge, total_charge - self.lowest)
        if self.spin is not None:
            if spin is None:
                raise ValueError(
                    "This `TotalCharge` knows spins: pass `spin`, 0 if "
                    "the multiplicity is unknown."
                )
            told = told + _row(self.spin, spin)
        update = jnp.where(mask[:, None], self.project(features + told), 0.0)
        nothing = jnp.zeros(mask.shape, features.dtype)
        return update, nothing, nothing

    def knows(self, total_charge: float, spin: int) -> bool:
        """Whether there are vectors for this charge (e) and multiplicity."""
        index = total_charge - self.lowest
        known = index == round(index) and 0 <= index < len(self.charge)
        return known and (self.spin is None or 0 <= spin < len(self.spin))

    def plan_for(self, cells, positions, mask, **margin):
        """Returns None: there is no lattice sum."""
        del cells, positions, mask, margin


def _row(table: Float[Array, "rows channels"], index: Num[Array, ""]):
    """One row; NaN where the index is none of a row, whole and in range."""
    whole = jnp.round(index).astype(int)
    known = (whole >= 0) & (whole < len(table)) & (index == whole)
    row = table[jnp.clip(whole, 0, len(table) - 1)]
    return jnp.where(known, row, jnp.nan)
