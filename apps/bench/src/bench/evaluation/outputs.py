"""Outputs of a model for a batch, by kind of label."""

from collections.abc import Collection

from backbones import Batch, Potential
from jaxtyping import Array

from bench.evaluation.response import born_effective_charges, dipoles


def outputs_of(
    potential: Potential, batch: Batch, kinds: Collection[str]
) -> tuple[dict[str, Array], Array]:
    """Returns what a model predicts for a padded batch.

    Args:
        potential: to evaluate.
        batch: inputs.
        kinds: of labels that are needed; others are computed if they are free.

    Returns:
        By kind, without those that the model or the boundaries do not give, in the
        order in which a loss adds them; and the energy of each atom, eV.
    """
    if {"force", "stress"} & set(kinds):
        out = potential(batch)
        energies, charges = out.energies, out.charges
        outputs = {"energy": out.energy, "charge": charges, "force": out.forces}
        if out.stress is not None:
            outputs["stress"] = out.stress
    else:
        energies, charges = potential.energies(batch)
        outputs = {"energy": energies.sum(1), "charge": charges}
    if "dipole" in kinds and batch.cell is None and potential.backbone.has_charges:
        outputs["dipole"] = dipoles(batch, charges)
    if "born" in kinds and potential.backbone.has_charges:
        outputs["born"] = born_effective_charges(potential, batch)
    return outputs, energies
