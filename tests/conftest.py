import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def programs_as_users_compile_them():
    """What members do together is tested optimised, also where `.ci/run` is quick.

    Every program holds memory maps, and thousands of them exhaust the kernel's limit:
    so they end with their module.
    """
    quick = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", quick)
