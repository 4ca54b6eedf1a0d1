"""Embedding of the total charge and spin of a structure."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ._networks import Linear


class TotalCharge(eqx.Module):
    r"""Embedding of the total charge, a long-range layer for the hook `"embedding"`.

    $$ \Delta h_i = W (h_i + c_Q + s_S) $$

    with one learned vector per integer charge Q and, optionally, per spin multiplicity
    S. Without it, or another layer that depends on Q, all ions of a molecule have the
    same energy. Energies and charges of the layer are zero.

    Args:
        channels: width of the species embedding.
        charges: lowest and highest total charge, e; results for others are NaN.
        spins: highest multiplicity; 0 for no dependence on the spin. Multiplicity 0,
            for unknown, has its vector; results for others than 0 to `spins` are NaN.
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
                "`charges` must be the lowest and the highest charge and `spins` must "
                f"not be negative, got {charges} and {spins}."
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
        """Returns the update, zero energies and zero charges.

        Args:
            features: species embedding of the atoms.
            positions: unused.
            cell: unused.
            mask: false on padding.
            total_charge: e.
            spin: multiplicity, 0 if unknown; None for a layer without spins.

        Raises:
            ValueError: the layer depends on the spin and `spin` is None.
        """
        del positions, cell
        embedding = _row(self.charge, total_charge - self.lowest)
        if self.spin is not None:
            if spin is None:
                raise ValueError(
                    "This `TotalCharge` depends on the spin: pass `spin`, 0 if the "
                    "multiplicity is unknown."
                )
            embedding = embedding + _row(self.spin, spin)
        update = jnp.where(mask[:, None], self.project(features + embedding), 0.0)
        zeros = jnp.zeros(mask.shape, features.dtype)
        return update, zeros, zeros

    def supports(self, total_charge: float, spin: int) -> bool:
        """Whether there are vectors for a total charge and spin.

        Args:
            total_charge: e.
            spin: multiplicity, 0 if unknown.
        """
        index = total_charge - self.lowest
        supported = index == round(index) and 0 <= index < len(self.charge)
        return supported and (self.spin is None or 0 <= spin < len(self.spin))

    def arguments(self) -> dict[str, Any]:
        """Returns the constructor's arguments, see `LongRange`."""
        charges, channels = self.charge.shape
        return {
            "channels": channels,
            "charges": [self.lowest, self.lowest + charges - 1],
            "spins": 0 if self.spin is None else len(self.spin) - 1,
        }

    def plan_for(self, cells, positions, mask, *, margin=1e-3):
        """Returns None: the layer needs no plan."""
        del cells, positions, mask, margin

    def plan(self, cell, positions, mask=None, *, margin=1e-3):
        """Returns None: the layer needs no plan."""
        del cell, positions, mask, margin


def _row(table: Float[Array, "rows channels"], index: Num[Array, ""]):
    """Returns a row of a table; NaN if the index is not an integer or out of range."""
    rounded = jnp.round(index).astype(int)
    valid = (rounded >= 0) & (rounded < len(table)) & (index == rounded)
    row = table[jnp.clip(rounded, 0, len(table) - 1)]
    return jnp.where(valid, row, jnp.nan)
