"""Conformance checks for the tests of backbones and long-range layers."""

from ._backbones import BACKBONE_CHECKS as BACKBONE_CHECKS
from ._backbones import LOCAL_CHECKS as LOCAL_CHECKS
from ._derivatives import check_forces_and_stress as check_forces_and_stress
from ._derivatives import check_graphs_are_independent as check_graphs_are_independent
from ._derivatives import check_parameter_gradients as check_parameter_gradients
from ._derivatives import check_second_derivatives as check_second_derivatives
from ._interface import check_interface as check_interface
from ._invariance import check_batches_and_padding as check_batches_and_padding
from ._invariance import check_cutoff_is_smooth as check_cutoff_is_smooth
from ._invariance import check_distant_fragments as check_distant_fragments
from ._invariance import check_isolated_atoms as check_isolated_atoms
from ._invariance import check_permutation as check_permutation
from ._invariance import check_single_precision as check_single_precision
from ._invariance import check_supercells as check_supercells
from ._invariance import check_symmetry as check_symmetry
from ._layers import LAYER_CHECKS as LAYER_CHECKS
from ._layers import LayerCase as LayerCase
from ._samples import SAMPLE_SIZES as SAMPLE_SIZES
from ._samples import batch_of as batch_of
from ._samples import evaluate as evaluate
from ._samples import predict as predict
from ._samples import sample_structure as sample_structure
