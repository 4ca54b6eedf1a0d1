"""Likely causes of predictions that are not finite."""

import equinox as eqx
import jax
import numpy as np

from ._neighbors import neighbors
from ._potential import Potential
from ._structure import Structure
from ._total_charge import TotalCharge


def likely_cause(potential: Potential, structure: Structure) -> str:
    """Returns the likely cause of a prediction that is not finite, as a clause.

    Args:
        potential: that made the prediction.
        structure: whose prediction is not finite.
    """
    for leaf_path, leaf in jax.tree.leaves_with_path(
        eqx.filter(potential, eqx.is_array)
    ):
        if not np.isfinite(np.asarray(leaf)).all():
            name = jax.tree_util.keystr(leaf_path)
            return f"its weights in {name} are not finite: train it again"
    is_layer = lambda node: isinstance(node, TotalCharge)
    for layer in jax.tree.leaves(potential, is_leaf=is_layer):
        if is_layer(layer) and not layer.supports(
            structure.total_charge, structure.spin
        ):
            return (
                "its `TotalCharge` does not support total charge "
                f"{structure.total_charge:g} with spin {structure.spin}"
            )
    cutoff = potential.backbone.cutoff
    pairs = neighbors(structure.positions, structure.cell, cutoff)
    shifts = 0.0 if structure.cell is None else pairs.shifts @ structure.cell
    vectors = structure.positions[pairs.senders] - structure.positions[pairs.receivers]
    distances = np.linalg.norm(vectors + shifts, axis=1)
    if not len(distances):
        return "no two atoms are within its cutoff, unlike in its training data"
    return (
        f"the smallest distance of two atoms is {distances.min():.3g} Å, which may be "
        "far from its training data"
    )
