"""Checks that every backbone and every long-range layer must pass, for their tests."""

from ._backbones import BACKBONE_CHECKS as BACKBONE_CHECKS
from ._backbones import LOCAL_CHECKS as LOCAL_CHECKS
from ._derivatives import check_every_leaf_learns as check_every_leaf_learns
from ._derivatives import check_forces_and_stress as check_forces_and_stress
from ._derivatives import check_graphs_are_independent as check_graphs_are_independent
from ._derivatives import check_second_derivatives as check_second_derivatives
from ._invariance import check_batches_and_padding as check_batches_and_padding
from ._invariance import check_cutoff_is_smooth as check_cutoff_is_smooth
from ._invariance import check_far_fragments_add as check_far_fragments_add
from ._invariance import check_lone_atoms as check_lone_atoms
from ._invariance import check_order_of_atoms as check_order_of_atoms
from ._invariance import check_repeated_cells as check_repeated_cells
from ._invariance import check_single_precision as check_single_precision
from ._invariance import check_symmetry as check_symmetry
from ._layers import LAYER_CHECKS as LAYER_CHECKS
from ._layers import LayerCase as LayerCase
from ._samples import SAMPLE_SIZES as SAMPLE_SIZES
from ._samples import batch_of as batch_of
from ._samples import evaluate as evaluate
from ._samples import predict as predict
from ._samples import sample_structure as sample_structure
