from how_tests_run import (
    programs_end_where_there_are_too_many as programs_end_where_there_are_too_many,
)
from how_tests_run import pytest_cmdline_main as pytest_cmdline_main

# isort: split
# Read after the environment, which JAX looks at once.
import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def programs_as_users_compile_them():
    """What members do together is tested optimized, as users compile it.

    In memory JAX tells programs apart by what they compute alone: none outlive this.
    """
    cheap = jax.config.read("jax_disable_most_optimizations")
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", cheap)


@pytest.fixture
def compiled_cheaply():
    """For a test that asks whether numbers are zero, or equal to each other."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
