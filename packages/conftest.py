"""How tests run is decided in `tests/how_tests_run.py`."""

from how_tests_run import (
    programs_end_where_there_are_too_many as programs_end_where_there_are_too_many,
)
from how_tests_run import pytest_cmdline_main as pytest_cmdline_main
