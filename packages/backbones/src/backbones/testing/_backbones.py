"""The checks of a backbone, in one list to parametrise tests with."""

from . import _derivatives as derivatives
from . import _invariance as invariance

BACKBONE_CHECKS = (
    invariance.check_symmetry,
    invariance.check_order_of_atoms,
    invariance.check_batches_and_padding,
    invariance.check_repeated_cells,
    invariance.check_cutoff_is_smooth,
    invariance.check_lone_atoms,
    invariance.check_single_precision,
    derivatives.check_forces_and_stress,
    derivatives.check_second_derivatives,
    derivatives.check_graphs_are_independent,
    derivatives.check_every_leaf_learns,
)
"""Hold for every potential with every long-range layer. Each takes the `Potential`."""

LOCAL_CHECKS = (invariance.check_far_fragments_add,)
"""Hold for potentials without a long-range layer."""
