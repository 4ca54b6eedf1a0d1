"""Structures, features and rotations; all tests run in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

TRICLINIC = [[6.0, 0.3, 0], [1.5, 6.5, 0], [-1.0, 0.8, 7.0]]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def triclinic():
    return jnp.asarray(TRICLINIC)


@pytest.fixture
def structure():
    """Queries, keys, values and positions within 6 Å."""

    def make(atoms=6, seed=0, qk=6, v=3, sph=None):
        rng = np.random.default_rng(seed)
        shape = (atoms,) if sph is None else (atoms, sph)
        features = [jnp.asarray(rng.normal(size=(*shape, n))) for n in (qk, qk, v)]
        return *features, jnp.asarray(rng.uniform(0, 6, (atoms, 3)))

    return make


@pytest.fixture
def axes():
    """A rotation matrix, or an improper one."""

    def make(improper=False):
        q = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
        return jnp.asarray(q if (np.linalg.det(q) < 0) == improper else -q)

    return make


@pytest.fixture
def close():
    def check(actual, expected, rtol=1e-10):
        atol = rtol * float(jnp.max(jnp.abs(expected)))
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)

    return check
