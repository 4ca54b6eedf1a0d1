import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_end_with_their_module():
    """Every program holds memory maps; thousands of them exhaust the kernel's limit."""
    yield
    jax.clear_caches()
