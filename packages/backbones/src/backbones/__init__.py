"""Interatomic potentials that take any long-range layer."""

from ._batch import Batch as Batch
from ._contract import LongRange as LongRange
from ._contract import NoLongRange as NoLongRange
from ._contract import Sum as Sum
from ._file import read_arrays as read_arrays
from ._file import read_header as read_header
from ._file import write_arrays as write_arrays
from ._mace import MACE as MACE
from ._mace import MACESize as MACESize
from ._mace import NodeOutput as NodeOutput
from ._neighbours import Neighbours as Neighbours
from ._neighbours import neighbours as neighbours
from ._packing import Bucket as Bucket
from ._packing import pack as pack
from ._potential import Backbone as Backbone
from ._potential import Potential as Potential
from ._potential import Prediction as Prediction
from ._potential import parameter_count as parameter_count
from ._structure import Structure as Structure
