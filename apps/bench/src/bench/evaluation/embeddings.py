"""Mean node features of a trained backbone."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from backbones import Batch, Potential, Sum
from jaxtyping import Array, Float

from bench.batches.loading import BatchedDataset

_HOOK = "final"


class FeatureProbe(eqx.Module):
    """A long-range layer that exposes the features at its hook.

    Its energy is linear in the features, so the features are the derivative of the
    energy with respect to the weights.

    Args:
        weights: eV, one per channel.
    """

    weights: Float[Array, " channels"]
    degree: int = eqx.field(static=True, default=0)

    def __call__(self, features, positions, cell, mask, **_):
        """Returns a zero update, the weighted features as energies, zero charges."""
        del positions, cell
        energies = jnp.where(mask, features @ self.weights, 0.0)
        return jnp.zeros_like(features), energies, jnp.zeros_like(energies)

    def plan_for(self, cells, positions, mask, **margin):
        """Returns None, because the layer has no lattice sum."""
        del cells, positions, mask, margin


def with_feature_probe(potential: Potential, channels: int) -> Potential:
    """Returns a potential with a `FeatureProbe` of zero weights at its last hook.

    Args:
        potential: trained.
        channels: of the features at the last hook.
    """
    layers = dict(_layers(potential))
    probe = FeatureProbe(jnp.zeros(channels))
    last = layers.get(_HOOK)
    members = () if last is None else last.layers if isinstance(last, Sum) else (last,)
    layers[_HOOK] = Sum((*members, probe))
    return eqx.tree_at(_layers, potential, layers)


def _layers(potential: Potential) -> dict[str, Any]:
    backbone: Any = potential.backbone
    return backbone.hooks.layers


def mean_features(
    potential: Potential, batched: BatchedDataset, members: np.ndarray
) -> Float[np.ndarray, "structures channels"]:
    """Returns the features at the last hook, averaged over the atoms.

    Args:
        potential: from `with_feature_probe`.
        batched: dataset, batched for this potential.
        members: indices of samples.
    """
    atomic_energies = dict(potential.atomic_energies)
    features = {}
    for indices, batch, _ in batched.batches(members, atomic_energies):
        sums = np.asarray(_feature_sums(potential, batch), np.float64)
        num_atoms = np.asarray(batch.mask.sum(1))
        for g, index in enumerate(indices):
            features[int(index)] = sums[g] / num_atoms[g]
    return np.array([features[int(m)] for m in members])


@eqx.filter_jit
def _feature_sums(potential: Potential, batch: Batch) -> Array:
    """Returns the features summed over the atoms of each structure."""
    weights = lambda p: _layers(p)[_HOOK].layers[-1].weights

    def energies(values):
        return eqx.tree_at(weights, potential, values).energies(batch)[0].sum(1)

    return jax.jacrev(energies)(weights(potential))
