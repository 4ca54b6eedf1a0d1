"""Imports the configuration in `tests/pytest_configuration.py`."""

from pytest_configuration import limit_memory_maps as limit_memory_maps
from pytest_configuration import pytest_cmdline_main as pytest_cmdline_main
