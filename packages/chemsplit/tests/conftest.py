import numpy as np
import pytest
from scipy.sparse import csr_matrix


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def blobs(rng):
    """Twelve directions, ten rows around each, and the direction of each row."""
    centers = rng.normal(size=(12, 30))
    member = np.repeat(np.arange(12), 10)
    return centers[member] + 0.1 * rng.normal(size=(120, 30)), member


@pytest.fixture
def ids():
    return [f"mof-{i:03d}" for i in range(120)]


@pytest.fixture
def wide(rng):
    """Sparse rows with many more features than rows."""
    X = rng.normal(size=(60, 3000)) * (rng.uniform(size=(60, 3000)) < 0.1)
    X[:, ::7] = 0
    return csr_matrix(X.astype(np.float32))
