"""Labels of a batch, padded, with their weights."""

import dataclasses
from collections.abc import Mapping, Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from bench.dataset.opening import Sample
from bench.dataset.per_element import composition_energy
from bench.labels import LABELS_BY_KIND, TRAINABLE_KINDS


class Targets(eqx.Module):
    """Labels of a batch, by kind, in the units of the table of labels.

    Args:
        values: `[graphs, ...]` of one value per structure or `[graphs, slots, ...]` of
            one per atom; energies relative to the sum of atomic energies.
        weights: `[graphs]` or `[graphs, slots]`: one, or zero on padding and where a
            label is missing.
        num_atoms: atoms of each structure; zero for padding structures.
    """

    values: dict[str, Float[np.ndarray | Array, "graphs ..."]]
    weights: dict[str, Float[np.ndarray | Array, "graphs ..."]]
    num_atoms: Float[np.ndarray | Array, " graphs"]

    def without_weights(self) -> "Targets":
        """Returns a copy in which all weights are zero."""
        zeros = {kind: np.zeros_like(w) for kind, w in self.weights.items()}
        return dataclasses.replace(self, weights=zeros)


def make_targets(
    samples: Sequence[Sample],
    graphs: int,
    slots: int,
    atomic_energies: Mapping[int, float],
) -> Targets:
    """Returns the padded labels of a batch.

    Args:
        samples: the structures of the batch.
        graphs: structures with padding.
        slots: atoms per structure with padding.
        atomic_energies: eV by atomic number, subtracted from the energies in float64.
    """
    values, weights = {}, {}
    for kind in TRAINABLE_KINDS:
        label = LABELS_BY_KIND[kind]
        size = (graphs, slots) if label.per_atom else (graphs,)
        values[kind] = np.zeros((*size, *label.shape), np.float32)
        weights[kind] = np.zeros(size, np.float32)
        for g, sample in enumerate(samples):
            value = getattr(sample, label.name)
            if value is None:
                continue
            if label.is_extensive:
                value = value - composition_energy(sample, atomic_energies)
            atoms = slice(len(sample.structure)) if label.per_atom else ...
            values[kind][g, atoms], weights[kind][g, atoms] = value, 1.0
    num_atoms = np.zeros(graphs, np.float32)
    num_atoms[: len(samples)] = [len(sample.structure) for sample in samples]
    return Targets(values, weights, num_atoms)
