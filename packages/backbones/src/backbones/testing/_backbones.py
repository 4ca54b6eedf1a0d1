"""The checks of a backbone, as tuples for parametrized tests."""

from . import _derivatives as derivatives
from . import _interface as interface
from . import _invariance as invariance

BACKBONE_CHECKS = (
    interface.check_interface,
    invariance.check_symmetry,
    invariance.check_permutation,
    invariance.check_batches_and_padding,
    invariance.check_supercells,
    invariance.check_cutoff_is_smooth,
    invariance.check_isolated_atoms,
    invariance.check_single_precision,
    derivatives.check_forces_and_stress,
    derivatives.check_second_derivatives,
    derivatives.check_graphs_are_independent,
    derivatives.check_parameter_gradients,
)
"""Checks of all potentials, with any long-range layer. Each takes the `Potential`."""

LOCAL_CHECKS = (invariance.check_distant_fragments,)
"""Checks of potentials without a long-range layer."""
