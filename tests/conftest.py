"""Fixtures of the tests that need two or more members."""

from pytest_configuration import limit_memory_maps as limit_memory_maps
from pytest_configuration import pytest_cmdline_main as pytest_cmdline_main

# isort: split
# JAX reads the environment, set by `pytest_configuration`, when it is imported.
import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def optimization_enabled():
    """Compiles with full optimization: members are tested together as users run them.

    JAX's in-memory caches are cleared before and after, since their keys do not contain
    the level of optimization.
    """
    disabled = jax.config.read("jax_disable_most_optimizations")
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", disabled)


@pytest.fixture
def optimization_disabled():
    """For tests that check only whether numbers are zero or equal to each other."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
