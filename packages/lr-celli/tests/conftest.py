"""Structures, reference sums and checks of derivatives, with float64 enabled."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
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
    return None if rows is None else np.asarray(rows, float)


@pytest.fixture(params=["cubic", "triclinic", "skew", "left-handed"])
def periodic(request):
    return np.asarray(CELLS[request.param], float)


@pytest.fixture
def triclinic():
    return np.asarray(CELLS["triclinic"], float)


@pytest.fixture
def structure():
    """Random positions within 6 Å and random widths, as NumPy arrays."""

    def make(atoms=6, seed=0, low=0.3, high=2.6):
        rng = np.random.default_rng(seed)
        positions = rng.uniform(0, 6, (atoms, 3))
        return positions, rng.uniform(low, high, atoms)

    return make


@eqx.filter_jit
def changed_parameters(layer):
    leaves, tree = jax.tree.flatten(layer)
    keys = jr.split(jr.key(9), len(leaves))
    changed = [
        x + 0.1 * jr.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, changed)


@pytest.fixture
def perturbed():
    """Changes every parameter of a layer from its initial value."""
    return changed_parameters


@pytest.fixture
def batch(structure):
    """Three graphs of six slots: full, partly filled, and padding; five channels."""
    cells = np.stack([6.5 * np.eye(3), np.diag([4.0, 5, 7]), np.eye(3)])
    cells[1, 1, 0] = 1.3
    mask = np.array([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    return {
        "features": np.asarray(jr.normal(jr.key(0), (3, 6, 5))),
        "positions": np.stack([structure(seed=s)[0] for s in range(3)]),
        "cell": cells,
        "mask": mask,
        "species": np.where(mask, [1, 6, 8, 30, 55, 1], 0),
        "total_charge": np.array([1.0, -2.0, 0.0]),
    }


@pytest.fixture
def select():
    """Selects one graph of a batch or a plan, as JAX arrays."""
    return lambda tree, index: jax.tree.map(
        lambda x: jnp.asarray(np.asarray(x)[index]), tree
    )


@jax.jit
def compiled_matrix(positions, widths, cell, plan, mask):
    return coulomb_matrix(widths, positions, cell, plan=plan, mask=mask)


@pytest.fixture
def matrix():
    """`coulomb_matrix` under jit as a NumPy array; the default plan is accurate."""

    def call(positions, widths, cell=None, *, plan=None, mask=None, **options):
        if cell is not None and plan is None:
            plan = Ewald.for_structures(
                cell, np.asarray(positions), **{"tolerance": 1e-11, **options}
            )
        return np.asarray(compiled_matrix(positions, widths, cell, plan, mask))

    return call


@pytest.fixture
def reciprocal_sum():
    """The periodic matrix from its definition, as a NumPy sum over reciprocal vectors.

    For charges, or for charges and the three components of dipoles.
    """

    def call(positions, widths, cell, dipoles=False):
        positions, widths, cell = map(np.asarray, (positions, widths, cell))
        cutoff = 9.5 / (np.sqrt(2) * widths.min())
        limits = np.ceil(cutoff * np.linalg.norm(cell, axis=1) / (2 * np.pi))
        limits = limits.astype(int)
        n = np.array(list(np.ndindex(*(2 * limits + 1)))) - limits
        k = 2 * np.pi * n @ np.linalg.inv(cell).T
        squared = np.sum(k * k, axis=1)
        k, squared = (x[(squared > 0) & (squared < cutoff**2)] for x in (k, squared))
        waves = np.exp(1j * positions @ k.T - widths[:, None] ** 2 * squared / 2)
        gradients = [1j * k[:, a] * waves for a in range(3)] if dipoles else []
        waves = np.concatenate([waves, *gradients])
        scale = 4 * np.pi * COULOMB_CONSTANT / abs(np.linalg.det(cell))
        return scale * np.real((waves / squared) @ waves.conj().T)

    return call


@pytest.fixture
def check_derivatives():
    """Compares first and second derivatives with central finite differences.

    The second derivative is the gradient of a directional derivative, as in training on
    forces. The differences are along one direction, with errors of h² and of rounding
    divided by h. All arguments are differentiated in two compiled functions.
    """

    def check(value, *arguments, rtol=1e-5, h=1e-4):
        rng = np.random.default_rng(7)
        arguments = [np.asarray(x) for x in arguments]
        step = [rng.normal(size=x.shape) for x in arguments]
        argnums = tuple(range(len(arguments)))
        dot = lambda a, b: sum(jnp.vdot(x, y) for x, y in zip(a, b, strict=True))
        first = jax.jit(jax.value_and_grad(value, argnums))
        second = jax.jit(
            jax.grad(lambda *a: dot(jax.grad(value, argnums)(*a), step), argnums)
        )
        shifted = lambda t: [x + t * d for x, d in zip(arguments, step, strict=True)]
        results = jax.device_get([first(*shifted(t)) for t in (h, -h, 0.0)])
        (up, up_gradient), (down, down_gradient), (_, gradient) = results
        hessian_product = jax.device_get(second(*arguments))
        slope = sum(np.vdot(x, y) for x, y in zip(gradient, step, strict=True))
        np.testing.assert_allclose(slope, (up - down) / (2 * h), rtol=rtol)
        for actual, a, b in zip(
            hessian_product, up_gradient, down_gradient, strict=True
        ):
            expected = (a - b) / (2 * h)
            scale = np.max(np.abs(expected))
            np.testing.assert_allclose(actual, expected, atol=rtol * 10 * scale)
        return gradient

    return check
