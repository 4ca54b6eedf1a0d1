"""Which terms a split holds, what it covers, and what is refused."""

import contextlib
import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from lr_celli import COULOMB_CONSTANT, Ewald, coulomb_matrix


@contextlib.contextmanager
def untyped():
    """Annotations unchecked, as for users: the messages are for them."""
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
    split = Ewald.for_cells(triclinic, tolerance=1e-6, margin=0.1)
    strained = triclinic @ jnp.diag(jnp.array([stretch, 1.0, stretch]))
    error = matrix(r, sigma, strained, ewald=split) - reciprocal_sum(r, sigma, strained)
    assert jnp.max(jnp.abs(error)) < 1e-6 * COULOMB_CONSTANT


@pytest.mark.parametrize("margin", [0.001, 0.1])
def test_uncovered_cells_are_nan_and_said_to_be(matrix, structure, triclinic, margin):
    r, sigma = structure()
    split = Ewald.for_cells(triclinic, margin=margin, tolerance=1e-3)
    # Beyond the margin there is room for float32's rounding, of 1e-4.
    for stretch in (1 + 0.99 * margin, 1.01 + margin, 1 / (1.01 + margin)):
        covered = abs(math.log(stretch)) < math.log(1 + margin)
        cell = triclinic @ jnp.diag(jnp.array([1.0, stretch, 1.0]))
        assert split.covers(cell) == covered
        assert jnp.all(jnp.isfinite(matrix(r, sigma, cell, ewald=split)) == covered)


def test_uncovered_cells_have_no_gradient_either(structure, triclinic):
    r, sigma = structure()
    split = Ewald.for_cells(triclinic, tolerance=1e-3)
    total = lambda r, cell: jnp.sum(coulomb_matrix(r, sigma, cell, ewald=split))
    assert jnp.all(jnp.isnan(jax.jit(jax.grad(total))(r, 1.1 * triclinic)))


def test_widths_outside_their_bounds_are_nan(matrix, structure, triclinic):
    r, _ = structure()
    split = Ewald.for_cells(triclinic, width_bounds=(0.5, 1.0), tolerance=1e-3)
    for width, served in ((0.5, True), (1.0, True), (0.49, False), (1.01, False)):
        found = matrix(r, jnp.full(6, width), triclinic, ewald=split)
        assert jnp.all(jnp.isfinite(found)) == served


def test_bounds_save_work(triclinic):
    free = Ewald.for_cells(triclinic, smear=0.8)
    narrow = Ewald.for_cells(triclinic, smear=0.8, width_bounds=(0.1, 0.5))
    wide = Ewald.for_cells(triclinic, smear=0.8, width_bounds=(0.9, 3.0))
    assert free.wide and not narrow.wide and not wide.wide
    assert wide.images.shape[0] == 0 < narrow.images.shape[0]
    assert narrow.images.shape[0] <= free.images.shape[0]


def test_covers_answers_for_every_graph():
    cells = np.stack([6 * np.eye(3), 7 * np.eye(3)])
    split = Ewald.for_cells(cells, tolerance=1e-3)
    stretched = cells * np.array([1.0, 1.01])[:, None, None]
    assert split.covers(stretched).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"shape \[2, 3, 3\], got \[3, 3\]"):
        split.covers(cells[0])


def test_sizes_are_few():
    shapes = set()
    for length in np.linspace(8, 12, 25):
        split = Ewald.for_cells(length * np.eye(3), tolerance=1e-6)
        assert split.valid.sum() > 0.85 * split.valid.shape[0]
        shapes.add((split.valid.shape, split.images.shape))
    assert len(shapes) < 15


def test_a_small_cell_costs_a_batch_nothing():
    """Every cell has its own split, so that the largest alone sets the sizes."""
    large, small = 14.0 * np.eye(3), 5.0 * np.eye(3)
    alone = Ewald.for_cells(large[None], tolerance=1e-6)
    both = Ewald.for_cells(np.stack([large, small]), tolerance=1e-6)
    assert both.smear[1] < both.smear[0]
    work = lambda split: 100 * split.images.shape[1] + split.indices.shape[1]
    assert work(both) < 1.15 * work(alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, "`tolerance` is an error between"),
        ({"margin": -0.1}, "`margin` is a strain and must not be negative, got -0.1"),
        ({"smear": 0.0}, "`smear` is a width and must be positive, got 0.0"),
        ({"smear": 0.01}, "needs about [0-9]{5,} reciprocal vectors"),
        ({"width_bounds": (2.0, 1.0)}, r"`width_bounds` are.*got \(2.0, 1.0\)"),
    ],
)
def test_bad_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Ewald.for_cells(8 * np.eye(3), **options)


def test_slabs_and_misshapen_cells_are_refused(structure):
    slab = np.diag([8.0, 8.0, 0.0])
    for call in (Ewald.for_cells, lambda c: coulomb_matrix(*structure(), c)):
        with pytest.raises(ValueError, match="is singular: give three independent"):
            call(slab)
    with untyped(), pytest.raises(ValueError, match=r"A cell has shape \[3, 3\]"):
        Ewald.for_cells(np.ones((2, 3)))


def test_splits_that_do_not_fit_are_refused(structure, triclinic):
    r, sigma = structure()
    split = Ewald.for_cells(triclinic, tolerance=1e-3)
    with pytest.raises(ValueError, match="The split was made for the cell .*make one"):
        coulomb_matrix(r, sigma, 1.2 * triclinic, ewald=split)
    with pytest.raises(ValueError, match="An `ewald` needs a `cell`"):
        coulomb_matrix(r, sigma, ewald=split)
    batch = Ewald.for_cells(triclinic[None], tolerance=1e-3)
    with pytest.raises(ValueError, match=r"one structure.*jax\.vmap"):
        coulomb_matrix(r, sigma, triclinic, ewald=batch)
    with pytest.raises(ValueError, match="The cell is traced.*pass them as `ewald`"):
        jax.jit(lambda c: coulomb_matrix(r, sigma, c))(triclinic)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_widths_must_be_positive(structure, bad):
    r, sigma = structure()
    with pytest.raises(ValueError, match=f"Every width must be positive.*{bad}"):
        coulomb_matrix(r, sigma.at[2].set(bad))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": (6, 2)}, r"`positions` has shape \[atoms, 3\], got \[6, 2\]"),
        ({"widths": (5,)}, r"`widths` has shape \[6\], got \[5\]"),
        ({"mask": (5,)}, r"`mask` has shape \[6\], got \[5\]"),
    ],
)
def test_wrong_shapes_are_refused(change, message):
    shapes = {"positions": (6, 3), "widths": (6,), "mask": (6,)} | change
    arrays = {name: jnp.ones(shape) for name, shape in shapes.items()}
    arrays["mask"] = arrays["mask"].astype(bool)
    with untyped(), pytest.raises(ValueError, match=message):
        coulomb_matrix(**arrays)
