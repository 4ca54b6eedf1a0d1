"""Why a potential may have given numbers that are not finite."""

import equinox as eqx
import jax
import numpy as np

from ._neighbors import neighbors
from ._potential import Potential
from ._structure import Structure
from ._total_charge import TotalCharge


def likely_cause(potential: Potential, structure: Structure) -> str:
    """The likeliest reason why a result is not finite, in a few words.

    Args:
        potential: that gave it.
        structure: that it was given for.
    """
    for at, leaf in jax.tree.leaves_with_path(eqx.filter(potential, eqx.is_array)):
        if not np.isfinite(np.asarray(leaf)).all():
            name = jax.tree_util.keystr(at)
            return f"its weights in {name} are not finite: train again"
    is_layer = lambda node: isinstance(node, TotalCharge)
    for layer in jax.tree.leaves(potential, is_leaf=is_layer):
        if is_layer(layer) and not layer.knows(structure.total_charge, structure.spin):
            return (
                f"its `TotalCharge` knows no total charge {structure.total_charge:g} "
                f"with spin {structure.spin}"
            )
    pairs = neighbors(structure, potential.backbone.cutoff)
    shifts = 0.0 if structure.cell is None else pairs.shifts @ structure.cell
    ends = structure.positions[pairs.senders] - structure.positions[pairs.receivers]
    distances = np.linalg.norm(ends + shifts, axis=1)
    if not len(distances):
        return "no two atoms are within its cutoff, which it may never have seen"
    return (
        f"two atoms are {distances.min():.3g} Å apart at least, which may be far from "
        "all that it was trained on"
    )
