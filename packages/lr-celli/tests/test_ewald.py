"""The plan of a Coulomb matrix: its terms, what it covers, and invalid arguments."""

import contextlib
import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from lr_celli import COULOMB_CONSTANT, Ewald, ParticleMesh, coulomb_matrix

ATOM = np.zeros((1, 3))


@contextlib.contextmanager
def untyped():
    """Disables type checks, as for users, to reach the package's checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("stretch", [0.92, 1.08])
def test_a_strained_cell_within_the_margin_keeps_the_tolerance(
    matrix, structure, triclinic, reciprocal_sum, stretch
):
    r, sigma = structure()
    plan = Ewald.for_structures(triclinic, r, tolerance=1e-6, margin=0.1)
    strained = triclinic @ np.diag([stretch, 1.0, stretch])
    error = matrix(r, sigma, strained, plan=plan) - reciprocal_sum(r, sigma, strained)
    assert np.max(np.abs(error)) < 1e-6 * COULOMB_CONSTANT


@pytest.mark.parametrize("margin", [0.001, 0.1])
def test_cells_are_nan_exactly_if_not_covered(matrix, structure, triclinic, margin):
    r, sigma = structure()
    plan = Ewald.for_structures(triclinic, r, margin=margin, tolerance=1e-3)
    # The limit is larger than the margin by 1e-4, for rounding in float32.
    for stretch in (1 + 0.99 * margin, 1.01 + margin, 1 / (1.01 + margin)):
        covered = abs(math.log(stretch)) < math.log(1 + margin)
        cell = triclinic @ np.diag([1.0, stretch, 1.0])
        assert plan.covers(cell, r) == covered
        assert np.all(np.isfinite(matrix(r, sigma, cell, plan=plan)) == covered)


def test_gradients_are_nan_if_the_cell_is_not_covered(structure, triclinic):
    r, sigma = arrays(structure)
    plan = Ewald.for_structures(triclinic, r, tolerance=1e-3)
    total = lambda r, cell: jnp.sum(coulomb_matrix(sigma, r, cell, plan=plan))
    assert np.all(np.isnan(jax.jit(jax.grad(total))(r, 1.1 * triclinic)))


def test_widths_outside_their_bounds_are_nan(matrix, structure, triclinic):
    r, _ = structure()
    plan = Ewald.for_structures(triclinic, r, width_bounds=(0.5, 1.0), tolerance=1e-3)
    for width, covered in ((0.5, True), (1.0, True), (0.49, False), (1.01, False)):
        actual = matrix(r, np.full(6, width), triclinic, plan=plan)
        assert np.all(np.isfinite(actual)) == covered


def test_bounds_on_widths_reduce_the_number_of_images(triclinic):
    make = lambda **options: Ewald.for_structures(
        triclinic, ATOM, smearing=0.8, **options
    )
    unbounded = make()
    narrow, wide = make(width_bounds=(0.1, 0.5)), make(width_bounds=(0.9, 3.0))
    assert (
        unbounded.has_wide_gaussians
        and not narrow.has_wide_gaussians
        and not wide.has_wide_gaussians
    )
    assert wide.images.shape[0] == 0 < narrow.images.shape[0]
    assert narrow.images.shape[0] <= unbounded.images.shape[0]


def test_covers_returns_a_bool_per_graph():
    cells = np.stack([6 * np.eye(3), 7 * np.eye(3)])
    plan = Ewald.for_structures(cells, np.zeros((2, 1, 3)), tolerance=1e-3)
    stretched = cells * np.array([1.0, 1.01])[:, None, None]
    assert plan.covers(stretched, np.zeros((2, 1, 3))).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"shape \[2, 3, 3\], got \[3, 3\]"):
        plan.covers(cells[0], ATOM)


def test_open_boundaries_need_no_plan():
    assert Ewald.for_structures(None, ATOM) is None
    assert ParticleMesh.for_structures(None, ATOM, width_max=1.0) is None
    plan = Ewald.for_structures(6 * np.eye(3), ATOM, tolerance=1e-3)
    assert plan.covers(None, ATOM) is False
    assert plan.covers(None, ATOM, np.zeros(1, bool)) is True


@pytest.mark.parametrize("positions", [(1, 2), (2, 1, 3), (3,)])
def test_positions_that_do_not_fit_the_cell_raise(positions):
    message = r"`positions` has shape \[atoms, 3\] for a cell"
    with untyped(), pytest.raises(ValueError, match=message):
        Ewald.for_structures(6 * np.eye(3), np.zeros(positions))
    with untyped(), pytest.raises(ValueError, match=r"`mask` has shape \[2\] for"):
        Ewald.for_structures(6 * np.eye(3), np.zeros((2, 3)), np.ones(3, bool))


def test_similar_cells_share_array_shapes():
    shapes = set()
    for length in np.linspace(8, 12, 25):
        plan = Ewald.for_structures(length * np.eye(3), ATOM, tolerance=1e-6)
        assert np.sum(plan.valid) > 0.85 * plan.valid.shape[0]
        shapes.add((plan.valid.shape, plan.images.shape))
    assert len(shapes) < 15


def test_a_small_cell_does_not_increase_the_cost_of_a_batch():
    """Each cell has its own smearing, so that the largest cell determines the sizes."""
    large, small = 14.0 * np.eye(3), 5.0 * np.eye(3)
    alone = Ewald.for_structures(large[None], ATOM[None], tolerance=1e-6)
    both = Ewald.for_structures(
        np.stack([large, small]), np.zeros((2, 1, 3)), tolerance=1e-6
    )
    smearing = np.asarray(both.smearing)
    assert smearing[1] < smearing[0]
    cost = lambda plan: 100 * plan.images.shape[1] + plan.indices.shape[1]
    assert cost(both) < 1.15 * cost(alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, "`tolerance` is an error between"),
        ({"margin": -0.1}, "`margin` is a strain and must not be negative, got -0.1"),
        ({"smearing": 0.0}, "`smearing` is a width and must be positive, got 0.0"),
        ({"smearing": 0.01}, "needs about [0-9]{5,} reciprocal vectors"),
        ({"width_bounds": (2.0, 1.0)}, r"`width_bounds` are.*got \(2.0, 1.0\)"),
    ],
)
def test_numbers_out_of_range_raise(options, message):
    with pytest.raises(ValueError, match=message):
        Ewald.for_structures(8 * np.eye(3), ATOM, **options)


def arrays(structure):
    return map(jnp.asarray, structure())


def test_slabs_and_cells_of_wrong_shape_raise(structure):
    slab = np.diag([8.0, 8.0, 0.0])
    r, sigma = arrays(structure)
    calls = (
        lambda cell: Ewald.for_structures(cell, r),
        lambda cell: coulomb_matrix(sigma, r, cell),
    )
    for call in calls:
        with pytest.raises(ValueError, match="is singular: give three independent"):
            call(slab)
    with untyped(), pytest.raises(ValueError, match=r"A cell has shape \[3, 3\]"):
        Ewald.for_structures(np.ones((2, 3)), ATOM)


def test_plans_that_do_not_fit_raise(structure, triclinic):
    r, sigma = arrays(structure)
    plan = Ewald.for_structures(triclinic, r, tolerance=1e-3)
    with pytest.raises(ValueError, match="The plan was made for the cell .*make one"):
        coulomb_matrix(sigma, r, 1.2 * triclinic, plan=plan)
    with pytest.raises(ValueError, match="A `plan` needs a `cell`"):
        coulomb_matrix(sigma, r, plan=plan)
    batch = Ewald.for_structures(triclinic[None], r[None], tolerance=1e-3)
    with pytest.raises(ValueError, match=r"one structure.*jax\.vmap"):
        coulomb_matrix(sigma, r, triclinic, plan=batch)
    with pytest.raises(ValueError, match="The cell is traced.*pass it as `plan`"):
        jax.jit(lambda c: coulomb_matrix(sigma, r, c))(triclinic)


@pytest.mark.parametrize("invalid", [0.0, -1.0, math.nan, math.inf])
def test_widths_that_are_not_positive_raise(structure, invalid):
    r, sigma = structure()
    sigma[2] = invalid
    with pytest.raises(ValueError, match=f"Every width must be positive.*{invalid}"):
        coulomb_matrix(jnp.asarray(sigma), jnp.asarray(r))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": (6, 2)}, r"`positions` has shape \[atoms, 3\], got \[6, 2\]"),
        ({"widths": (5,)}, r"`widths` has shape \[6\], got \[5\]"),
        ({"mask": (5,)}, r"`mask` is true on .* shape \[6\], got bool of shape \[5\]"),
    ],
)
def test_wrong_shapes_raise(change, message):
    shapes = {"positions": (6, 3), "widths": (6,), "mask": (6,)} | change
    arguments = {name: np.ones(shape) for name, shape in shapes.items()}
    arguments["mask"] = arguments["mask"].astype(bool)
    with untyped(), pytest.raises(ValueError, match=message):
        coulomb_matrix(**arguments)
