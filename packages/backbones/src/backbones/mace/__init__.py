"""MACE, and the conversion of mace-torch's weights."""

from ._mace import MACE as MACE
from ._size import MACESize as MACESize
from ._torch_weights import from_mace_torch as from_mace_torch
