"""What a trained backbone makes of each structure: its mean node features."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from backbones import Batch, Potential, Sum
from jaxtyping import Array, Float

from bench.batches.loading import BatchedDataset

_LAST = "final"


class FeatureProbe(eqx.Module):
    """A layer whose energy is linear in the features: its slope by the weights is them.

    Args:
        weights: eV, one a channel.
    """

    weights: Float[Array, " channels"]
    degree: int = eqx.field(static=True, default=0)

    def __call__(self, features, positions, cell, mask, **_):
        """Returns no update, the weighted features as energies, and no charges."""
        del positions, cell
        energies = jnp.where(mask, features @ self.weights, 0.0)
        return jnp.zeros_like(features), energies, jnp.zeros_like(energies)

    def plan_for(self, cells, positions, mask, **margin):
        """Returns None: there is no lattice sum."""
        del cells, positions, mask, margin


def with_feature_probe(potential: Potential, channels: int) -> Potential:
    """The same potential with a silent layer at its last hook, for `mean_features`.

    Args:
        potential: as trained.
        channels: of the features at the last hook.
    """
    layers = dict(_hooked(potential))
    extra = FeatureProbe(jnp.zeros(channels))
    own = layers.get(_LAST)
    members = () if own is None else own.layers if isinstance(own, Sum) else (own,)
    layers[_LAST] = Sum((*members, extra))
    return eqx.tree_at(_hooked, potential, layers)


def _hooked(potential: Potential) -> dict[str, Any]:
    backbone: Any = potential.backbone
    return backbone.hooks.layers


def mean_features(
    potential: Potential, batched: BatchedDataset, members: np.ndarray
) -> Float[np.ndarray, "structures channels"]:
    """Mean over the atoms of what the backbone's last readout sees.

    Args:
        potential: of `with_feature_probe`.
        batched: packed for it.
        members: indices of samples.
    """
    atomic_energies = dict(potential.atomic_energies)
    found = {}
    for chosen, batch, _ in batched.batches(members, atomic_energies):
        rows = np.asarray(_summed(potential, batch), np.float64)
        atoms = np.asarray(batch.mask.sum(1))
        for g, index in enumerate(chosen):
            found[int(index)] = rows[g] / atoms[g]
    return np.array([found[int(m)] for m in members])


@eqx.filter_jit
def _summed(potential: Potential, batch: Batch) -> Array:
    """Features summed over the atoms of each structure: a slope of its energy."""
    weights = lambda p: _hooked(p)[_LAST].layers[-1].weights

    def energies(values):
        return eqx.tree_at(weights, potential, values).energies(batch)[0].sum(1)

    return jax.jacrev(energies)(weights(potential))
