"""Readers of published formats: rows in eV, Å and e, one by one."""

from ._finding import open_source as open_source
from ._reading import LABELS as LABELS
from ._reading import Reading as Reading
from ._row import Rejected as Rejected
from ._row import Row as Row
from ._row import RowError as RowError
from ._source import BLOCK as BLOCK
from ._source import Source as Source
from ._source import Unit as Unit
