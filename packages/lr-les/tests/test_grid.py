"""The vectors of a grid, the cells it covers, and errors for bad arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_les import KGrid, energy

ATOM = np.zeros((1, 3))


def vectors_of(grid):
    """The integers n of k = 2 pi C^-1 n in a grid of one structure."""
    pairs, depth = (
        np.asarray(grid.index_pairs)[np.asarray(grid.valid)],
        len(grid.third_indices),
    )
    above = [(*pair, n) for pair in pairs for n in range(depth)]
    below = [(*pair, -n) for *pair, n in above if n and any(pair)]
    reduced = np.array([n for n in above + below if any(n)])
    return np.rint(reduced @ np.linalg.inv(np.asarray(grid.basis)).T).astype(int)


@pytest.mark.parametrize("skew", [0, 7])
def test_every_vector_within_the_margin_is_present_once(triclinic, skew):
    cell = np.array([[1, skew, 0], [0, 1, 0], [0, -skew, 1]]) @ np.asarray(triclinic)
    grid = KGrid.for_structures(cell, ATOM, tolerance=1e-2, margin=0.1)
    vectors = vectors_of(grid)
    present = {tuple(n) for n in vectors.tolist()}
    assert len(present) == len(vectors)
    assert not any(tuple(-n) in present for n in vectors)
    # A box around the sphere in the reduced basis, converted to the basis of the cell.
    box = (np.array(list(np.ndindex(13, 13, 13))) - 6) @ np.array(
        [[1, 0, 0], [skew, 1, -skew], [0, 0, 1]]
    )
    rng = np.random.default_rng(0)
    for _ in range(10):
        left, _, right = np.linalg.svd(rng.normal(size=(3, 3)))
        deform = left @ np.diag(rng.uniform(0.9, 1.1, 3)) @ right
        assert grid.covers(cell @ deform, ATOM)
        k = 2 * np.pi * np.linalg.solve(cell @ deform, box.T)
        lengths = np.linalg.norm(k, axis=0)
        needed = box[(lengths > 0) & (lengths < grid.cutoff)].tolist()
        assert len(needed) > 80
        assert all(
            (tuple(n) in present) != (tuple(-m for m in n) in present) for n in needed
        )


def test_skew_cells_need_no_more_vectors(triclinic):
    skewed = np.array([[1, 40, -3], [0, 1, 0], [0, -17, 1]]) @ np.asarray(triclinic)
    plain, other = (
        KGrid.for_structures(triclinic, ATOM),
        KGrid.for_structures(skewed, ATOM),
    )
    assert plain.index_pairs.shape == other.index_pairs.shape
    assert plain.third_indices.shape == other.third_indices.shape


def test_padded_sizes_are_few_and_tight():
    grids = [
        KGrid.for_structures(length * np.eye(3), ATOM)
        for length in np.linspace(3, 13, 60)
    ]
    sizes = np.array(
        [(*grid.index_pairs.shape, grid.third_indices.shape[0]) for grid in grids]
    )
    counts = np.array([int(grid.valid.sum()) for grid in grids])
    assert len({tuple(size) for size in sizes.tolist()}) < 45
    assert np.all(sizes[:, 0] >= counts)
    assert np.all(sizes[counts > 8, 0] <= 1.125 * counts[counts > 8])
    assert len({jax.tree.structure(grid) for grid in grids}) == 1


def test_uncovered_cells_give_nan_and_covers_is_false(structure, evaluate, triclinic):
    q, r = structure()
    for margin in (0.0, 0.001, 0.1):
        grid = KGrid.for_structures(triclinic, ATOM, margin=margin)
        for stretch, covered in ((1 + 0.99 * margin, True), (1.01 + margin, False)):
            cell = triclinic @ jnp.diag(jnp.array([1.0, stretch, 0.8]))
            assert grid.covers(cell, ATOM) == covered
            assert jnp.all(jnp.isfinite(evaluate(q, r, cell, plan=grid)) == covered)


def test_gradients_in_uncovered_cells_are_nan(structure, triclinic):
    q, r = structure()
    grid = KGrid.for_structures(triclinic, ATOM)
    total = lambda r, cell: jnp.sum(energy(q, r, cell, plan=grid))
    assert jnp.all(jnp.isnan(jax.jit(jax.grad(total))(r, 1.1 * triclinic)))


def test_traced_widths_below_that_of_the_grid_give_nan(structure, triclinic):
    q, r = structure()
    grid = KGrid.for_structures(triclinic, ATOM, sigma=0.9)
    total = jax.jit(lambda sigma: energy(q, r, triclinic, sigma=sigma, plan=grid))
    assert jnp.all(jnp.isfinite(total(0.9))) and jnp.all(jnp.isfinite(total(1.4)))
    assert jnp.all(jnp.isnan(total(0.89)))


def test_covers_returns_one_bool_per_graph():
    cells = np.stack([6 * np.eye(3), 7 * np.eye(3), np.eye(3)])
    positions = np.zeros((3, 1, 3))
    grid = KGrid.for_structures(cells, positions)
    assert grid.covers(cells, positions).all()
    stretched = cells * np.array([1.0, 1.01, 1.0])[:, None, None]
    assert grid.covers(stretched, positions).tolist() == [True, False, True]
    with pytest.raises(ValueError, match=r"shape \[3, 3, 3\], got \[2, 3, 3\]"):
        grid.covers(cells[:2], positions[:2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "`sigma` is a width and must be positive, got 0.0"),
        ({"tolerance": 0.0}, "`tolerance` is a relative error"),
        ({"dl": -1.0}, "`dl` is a wavelength and must be positive"),
        ({"margin": -0.1}, "`margin` is a strain and must not be negative"),
        ({"sigma": 0.001}, "needs about [0-9]{5,} reciprocal vectors"),
    ],
)
def test_bad_numbers_raise_errors(options, message):
    with pytest.raises(ValueError, match=message):
        KGrid.for_structures(8 * np.eye(3), ATOM, **options)


@pytest.mark.usefixtures("untyped")
def test_slabs_and_cells_of_wrong_shape_raise_errors(structure):
    slab = np.diag([8.0, 8.0, 0.0])
    calls = (
        lambda cell: KGrid.for_structures(cell, ATOM),
        lambda cell: energy(*structure(), jnp.asarray(cell)),
    )
    for call in calls:
        with pytest.raises(ValueError, match="singular: give three independent"):
            call(slab)
    with pytest.raises(ValueError, match=r"A cell has shape \[3, 3\].*got \[2, 3\]"):
        KGrid.for_structures(np.ones((2, 3)), ATOM)
    with pytest.raises(ValueError, match=r"\[graphs, slots, 3\].*got \[1, 3\] for"):
        KGrid.for_structures(np.eye(3)[None], ATOM)


def test_traced_cells_and_widths_need_a_plan(structure, triclinic):
    q, r = structure()
    with pytest.raises(
        ValueError, match="cell or `sigma` is traced.*pass it as `plan`"
    ):
        jax.jit(lambda cell: energy(q, r, cell))(triclinic)
    with pytest.raises(ValueError, match="cell or `sigma` is traced"):
        jax.jit(lambda sigma: energy(q, r, triclinic, sigma=sigma))(1.0)


def test_grids_that_do_not_fit_raise_errors(structure, triclinic):
    q, r = structure()
    grid = KGrid.for_structures(triclinic, ATOM)
    with pytest.raises(ValueError, match="made for widths from 1.0 Å, got sigma = 0.5"):
        energy(q, r, triclinic, sigma=0.5, plan=grid)
    with pytest.raises(ValueError, match="A `plan` needs a `cell`"):
        energy(q, r, plan=grid)
    with pytest.raises(
        ValueError, match=r"`energy` and the layer take one structure.*jax\.vmap"
    ):
        energy(q, r, triclinic, plan=KGrid.for_structures(triclinic[None], ATOM[None]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": (6, 2)}, r"`positions` has shape \[atoms, 3\], got \[6, 2\]"),
        ({"positions": (2, 6, 3)}, r"`positions` has shape.*use `jax.vmap`"),
        ({"charges": (5,)}, r"`charges` has shape .* with 6 atoms, got \[5\]"),
        ({"charges": (6, 1, 1)}, r"`charges` has shape .*got \[6, 1, 1\]"),
        ({"mask": (5,)}, r"`mask` is true on .* shape \[6\], got bool of shape \[5\]"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_wrong_shapes_raise_errors(change, message):
    shapes = {"charges": (6,), "positions": (6, 3), "mask": (6,)} | change
    arrays = {name: jnp.ones(shape) for name, shape in shapes.items()}
    arrays["mask"] = arrays["mask"].astype(bool)
    with pytest.raises(ValueError, match=message):
        energy(**arrays)


def test_open_boundaries_need_no_plan(structure):
    q, r = structure()
    assert KGrid.for_structures(None, r) is None
    assert np.isfinite(energy(q, r, plan=KGrid.for_structures(None, r))).all()


def test_widths_must_be_positive(structure):
    with pytest.raises(ValueError, match="`sigma` is a width and must be positive"):
        energy(*structure(), sigma=-1.0)
