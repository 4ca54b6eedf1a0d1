"""Readers of published formats: rows in eV, Å and e, one by one."""

from bench.sources.finding import open_source as open_source
from bench.sources.reading import Reading as Reading
from bench.sources.row import Rejected as Rejected
from bench.sources.row import Row as Row
from bench.sources.row import RowError as RowError
from bench.sources.source import BLOCK as BLOCK
from bench.sources.source import Source as Source
from bench.sources.source import Unit as Unit
