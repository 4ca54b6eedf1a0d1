"""Readers of published file formats: labeled structures in eV, Å and e."""

from bench.settings.reading import ReadOptions as ReadOptions
from bench.sources.formats import open_source as open_source
from bench.sources.row import Rejected as Rejected
from bench.sources.row import Row as Row
from bench.sources.row import RowError as RowError
from bench.sources.source import ROWS_PER_RANGE as ROWS_PER_RANGE
from bench.sources.source import RowRange as RowRange
from bench.sources.source import Source as Source
