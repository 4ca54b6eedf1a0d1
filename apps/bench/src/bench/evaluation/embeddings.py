"""Mean node features of a trained backbone."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from backbones import Batch, Potential, Structure, Sum, pack
from jaxtyping import Array, Float

from bench.batches.loading import BatchedDataset
from bench.exceptions import BenchError

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

    def plan_for(self, cells, positions, mask, *, margin=1e-3):
        """Returns None, because the layer has no lattice sum."""
        del cells, positions, mask, margin


class _WidthRecorder(FeatureProbe):
    """A probe that records the number of channels at its hook."""

    record: Callable[[int], None] = eqx.field(static=True, kw_only=True)

    def __call__(self, features, positions, cell, mask, **_):
        """Returns a zero update, zero energies and zero charges."""
        del positions, cell
        self.record(features.shape[-1])
        zeros = jnp.zeros(mask.shape, features.dtype)
        return jnp.zeros_like(features), zeros, zeros


def with_feature_probe(potential: Potential) -> Potential:
    """Returns a potential with a `FeatureProbe` of zero weights at its last hook.

    In a backbone with features on edges and no layer at this hook, the features of an
    atom are the sum of those of its edges.

    Args:
        potential: trained.
    """
    channels = jnp.zeros(_number_of_channels(potential))
    return _with_layer(potential, FeatureProbe(channels))


def _number_of_channels(potential: Potential) -> int:
    """Returns the number of features at the last hook, of the shapes for one atom."""
    widths: list[int] = []
    recorder = _WidthRecorder(jnp.zeros(0), record=widths.append)
    probed = _with_layer(potential, recorder)
    backbone = probed.backbone
    atom = Structure(np.array(backbone.elements[:1]), np.zeros((1, 3)), None, 0.0)
    (bucket,) = pack(
        [atom],
        cutoff=backbone.cutoff,
        graphs=1,
        plan_for=backbone.plan_for,
        triplets=backbone.needs_triplets,
    )
    batch = bucket.batch([0])
    eqx.filter_eval_shape(lambda: probed.energies(batch))
    if not widths:
        raise BenchError(
            f"{type(backbone).__name__} calls no layer at its hook {_HOOK!r}, so that "
            "there are no features: see `backbones.testing.check_interface`."
        )
    return widths[0]


def _with_layer(potential: Potential, layer: FeatureProbe) -> Potential:
    """Returns a potential with a further layer at its last hook."""
    layers = dict(_layers(potential))
    last = layers.get(_HOOK)
    members = () if last is None else last.layers if isinstance(last, Sum) else (last,)
    layers[_HOOK] = Sum((*members, layer))
    return eqx.tree_at(_layers, potential, layers)


def _layers(potential: Potential) -> dict[str, Any]:
    return potential.backbone.hooks.layers


def mean_features(
    potential: Potential, batched: BatchedDataset, members: np.ndarray
) -> Float[np.ndarray, "structures channels"]:
    """Returns the features at the last hook, averaged over the atoms.

    Args:
        potential: from `with_feature_probe`.
        batched: dataset, batched for this potential.
        members: indices of samples.
    """
    features = {}
    for indices, batch in batched.batches(members):
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
