"""Structures and compiled kernels, in float64 for the time of each test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_celli import COULOMB_CONSTANT, Ewald, coulomb_matrix

CELLS = {
    "open": None,
    "cubic": [[6.0, 0, 0], [0, 6.0, 0], [0, 0, 6.0]],
    "triclinic": [[6.0, 0.3, 0], [1.5, 6.5, 0], [-1.0, 0.8, 7.0]],
    "skew": [[5.0, 0, 0], [4.2, 4.0, 0], [3.0, -2.5, 6.0]],
}
CELLS["left-handed"] = CELLS["triclinic"][::-1]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["open", "cubic", "triclinic"])
def cell(request):
    rows = CELLS[request.param]
    return None if rows is None else jnp.asarray(rows, float)


@pytest.fixture(params=["cubic", "triclinic", "skew", "left-handed"])
def periodic(request):
    return jnp.asarray(CELLS[request.param], float)


@pytest.fixture
def triclinic():
    return jnp.asarray(CELLS["triclinic"], float)


@pytest.fixture
def structure():
    """Positions within some Å and widths from narrow to wide."""

    def make(atoms=6, seed=0, low=0.3, high=2.6):
        rng = np.random.default_rng(seed)
        positions = rng.uniform(0, 6, (atoms, 3))
        return jnp.asarray(positions), jnp.asarray(rng.uniform(low, high, atoms))

    return make


@jax.jit
def compiled(positions, widths, cell, ewald, mask):
    return coulomb_matrix(positions, widths, cell, ewald=ewald, mask=mask)


@pytest.fixture
def matrix():
    """`coulomb_matrix` under jit, with a split of the cell's own."""

    def call(positions, widths, cell=None, *, ewald=None, mask=None, **options):
        if cell is not None and ewald is None:
            ewald = Ewald.for_cells(cell, **{"tolerance": 1e-11, **options})
        return compiled(positions, widths, cell, ewald, mask)

    return call


@pytest.fixture
def reciprocal_sum():
    """The periodic matrix as its formula reads, over all vectors, in numpy.

    Of charges, or of charges and the three components of dipoles.
    """

    def call(positions, widths, cell, dipoles=False):
        positions, widths, cell = map(np.asarray, (positions, widths, cell))
        end = 9.5 / (np.sqrt(2) * widths.min())
        most = np.ceil(end * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(int)
        n = np.array(list(np.ndindex(*(2 * most + 1)))) - most
        k = 2 * np.pi * n @ np.linalg.inv(cell).T
        squared = np.sum(k * k, axis=1)
        k, squared = (x[(squared > 0) & (squared < end**2)] for x in (k, squared))
        waves = np.exp(1j * positions @ k.T - widths[:, None] ** 2 * squared / 2)
        slopes = [1j * k[:, a] * waves for a in range(3)] if dipoles else []
        waves = np.concatenate([waves, *slopes])
        scale = 4 * np.pi * COULOMB_CONSTANT / abs(np.linalg.det(cell))
        return scale * np.real((waves / squared) @ waves.conj().T)

    return call


@pytest.fixture
def check_derivatives():
    """Slopes against differences, and slopes of slopes as training on forces has them.

    Two compiled functions whatever the arguments; central differences along one
    direction, with errors of h² and of rounding over h.
    """

    def check(value, *arguments, rtol=1e-5, h=1e-4):
        rng = np.random.default_rng(7)
        step = [jnp.asarray(rng.normal(size=x.shape)) for x in arguments]
        every = tuple(range(len(arguments)))
        dot = lambda a, b: sum(jnp.vdot(x, y) for x, y in zip(a, b, strict=True))
        first = jax.jit(jax.value_and_grad(value, every))
        second = jax.jit(
            jax.grad(lambda *a: dot(jax.grad(value, every)(*a), step), every)
        )
        shifted = lambda t: [x + t * d for x, d in zip(arguments, step, strict=True)]
        (up, up_slope), (down, down_slope) = first(*shifted(h)), first(*shifted(-h))
        slope, curvature = first(*arguments)[1], second(*arguments)
        np.testing.assert_allclose(dot(slope, step), (up - down) / (2 * h), rtol=rtol)
        for found, a, b in zip(curvature, up_slope, down_slope, strict=True):
            expected = (a - b) / (2 * h)
            scale = jnp.max(jnp.abs(expected))
            np.testing.assert_allclose(found, expected, atol=rtol * 10 * scale)
        return slope

    return check
