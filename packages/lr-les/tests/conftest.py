"""Structures, cells and a compiled energy; all tests run in float64."""

import functools as ft

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from lr_les import KGrid, energy

CELLS = {
    "open": None,
    "orthorhombic": [[6.0, 0, 0], [0, 7.0, 0], [0, 0, 6.5]],
    "triclinic": [[6.0, 0.3, 0], [1.5, 6.5, 0], [-1.0, 0.8, 7.0]],
}
CELLS["left-handed"] = CELLS["triclinic"][::-1]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def untyped():
    """Disables the type checks of annotations, so that our own messages are raised."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(params=list(CELLS))
def cell(request):
    rows = CELLS[request.param]
    return None if rows is None else jnp.asarray(rows, float)


@pytest.fixture(params=[name for name in CELLS if name != "open"])
def periodic(request):
    return jnp.asarray(CELLS[request.param], float)


@pytest.fixture
def triclinic():
    return jnp.asarray(CELLS["triclinic"], float)


@pytest.fixture
def structure():
    """Charges of two channels, not neutral, and positions within 6 Å."""

    def make(atoms=6, seed=0, channels=2):
        rng = np.random.default_rng(seed)
        charges = rng.normal(size=(atoms, channels))
        return jnp.asarray(charges), jnp.asarray(rng.uniform(0, 6, (atoms, 3)))

    return make


@ft.partial(jax.jit, static_argnames=("sigma", "options"))
def compiled(charges, positions, cell, plan, mask, sigma, options):
    return energy(
        charges, positions, cell, sigma=sigma, plan=plan, mask=mask, **dict(options)
    )


@pytest.fixture
def evaluate():
    """`energy` under jit with a plan made for the cell; options are passed on."""

    def call(charges, positions, cell=None, *, plan=None, mask=None, **options):
        sigma, tolerance = options.pop("sigma", 1.0), options.pop("tolerance", 1e-6)
        if plan is None:
            plan = KGrid.for_structures(
                cell, positions, sigma=sigma, tolerance=tolerance
            )
        options = tuple(sorted(options.items()))
        return compiled(charges, positions, cell, plan, mask, sigma, options)

    return call
