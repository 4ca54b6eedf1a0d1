"""A long-range layer: charges relative to their mean, and their energy with it."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp


class MeanField(eqx.Module):
    """Charges from the scalars, and their interaction with the mean of all atoms.

    It needs no cell, so that open and periodic structures are the same to it.

    Args:
        channels: number of scalars per atom.
        strength: eV.
        key: seed of the weights.
    """

    uses_total_charge: ClassVar[bool] = False
    weight: jax.Array
    strength: float = eqx.field(static=True)
    degree: int = eqx.field(static=True, default=0)

    def __init__(self, channels: int, *, strength: float = 1.0, key: jax.Array):
        self.weight = jax.random.normal(key, (channels,)) / channels**0.5
        self.strength = float(strength)
        self.degree = 0

    def __call__(self, features, positions, cell, mask, **_):
        """Returns the update, energies (eV) and charges (e)."""
        del positions, cell
        features = jnp.where(mask[:, None], features, 0.0)
        mean = features.sum(0) / jnp.maximum(mask.sum(), 1)
        charges = jnp.where(mask, (features - mean) @ self.weight, 0.0)
        potential = self.strength * (features @ self.weight) * (mean @ self.weight)
        update = jnp.where(mask[:, None], 0.1 * jnp.tanh(mean), 0.0)
        return update, jnp.where(mask, potential, 0.0), charges

    def arguments(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"channels": len(self.weight), "strength": self.strength}

    def plan_for(self, cells, positions, mask, *, margin=1e-3):
        """Returns None: there are no lattice sums."""
        del cells, positions, mask, margin

    def plan(self, cell, positions, mask=None, *, margin=1e-3):
        """Returns None: there are no lattice sums."""
        del cell, positions, mask, margin
