"""The structures that a plan covers, on the host and under a trace."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_efa import EuclideanFastAttention, OpenPlan, ShellGrid, attend, lebedev_grid

CELL = np.array([[6.0, 0.3, 0], [1.5, 6.5, 0], [-1.0, 0.8, 7.0]])
SLOTS = 6


def make_layer(**options):
    options = {
        "qk_size": 4,
        "v_size": 2,
        "shell_thickness": 0.4,
        "method": "quadrature",
    } | options
    layer = EuclideanFastAttention(4, omega_max=1.0, key=jr.key(0), **options)
    return eqx.tree_at(lambda x: x.output, layer, jr.normal(jr.key(1), (1, 2, 4)))


@pytest.fixture
def batch():
    """Three graphs: six atoms, four atoms in another cell, no atoms; padding is NaN."""
    rng = np.random.default_rng(0)
    mask = np.arange(SLOTS) < np.array([6, 4, 0])[:, None]
    positions = rng.uniform(0, 6, (3, SLOTS, 3))
    positions = np.where(mask[..., None], positions, np.nan)
    return np.stack([CELL, 1.1 * CELL, np.eye(3)]), positions, mask


@eqx.filter_jit
def update_and_forces(layer, plan, positions, cell):
    """Update and forces of one structure without padding, under a trace."""
    features = jr.normal(jr.key(2), (len(positions), 4))
    mask = jnp.ones(len(positions), bool)

    def update(positions):
        return layer(features, positions, cell, mask, plan=plan)[0]

    total, pull = jax.vjp(update, positions)
    return total, pull(jnp.ones_like(total))[0]


def finite(results):
    finite_entries = [np.isfinite(x) for x in results]
    # Either all entries of a result are finite or none.
    assert all(bool(x.all()) == bool(x.any()) for x in finite_entries)
    return bool(finite_entries[0].all() and finite_entries[1].all())


def test_coverage_of_crystals_depends_on_their_cells(batch):
    cells, positions, mask = batch
    plan = make_layer().plan_for(*batch)
    assert isinstance(plan, ShellGrid) and plan.covers(*batch).all()
    assert plan.covers(None, *batch[1:]).tolist() == [False, False, True]
    strained = cells * np.array([1.0, 1.05, np.nan])[:, None, None]
    assert plan.covers(strained, positions + 9.0, mask).tolist() == [True, False, True]
    for value in (np.nan, np.inf):
        broken = positions.copy()
        broken[1, 2, 0] = value
        assert plan.covers(cells, broken, mask).tolist() == [True, False, True]


@pytest.mark.parametrize("boundary", ["cell", "ignore"])
def test_coverage_of_molecules_depends_on_their_extent(batch, boundary):
    cells, positions, mask = batch
    cells = cells if boundary == "ignore" else None
    efa = make_layer(boundary=boundary)
    plan = efa.plan_for(cells, positions, mask)
    assert isinstance(plan, OpenPlan) and plan.covers(cells, positions, mask).all()
    broken = np.where(np.arange(3)[:, None, None] == 1, np.nan, positions)
    assert plan.covers(cells, broken, mask).tolist() == [True, False, True]
    # The extent is twice the largest distance of an atom from the centroid.
    real = positions[1, :4]
    radius = np.linalg.norm(real - real.mean(0), axis=1).max()
    for growth in (0.999, 1.001):
        grown = positions.copy()
        grown[1] *= growth * plan.max_extent / (2 * radius)
        covered = plan.covers(cells, grown + 100.0, mask)
        assert covered.tolist() == [True, growth < 1, True]
    cell = None if cells is None else cells[0]
    assert plan.covers(cell, positions[0], mask[0]) is True
    # A plan for open boundaries covers no periodic structure.
    covered = plan.covers(batch[0], positions, mask)
    assert covered.tolist() == ([True] * 3 if boundary == "ignore" else [False] * 3)


def test_the_grid_of_the_layer_is_replaced_if_it_is_too_small(batch):
    positions = batch[1][:1]
    mask = np.ones((1, SLOTS), bool)
    with_grid = make_layer(quadrature_grid=lebedev_grid(20.0))
    plan = with_grid.plan_for(None, positions, mask)
    assert (
        plan.grid == with_grid.quadrature_grid
        and plan.covers(None, positions, mask).all()
    )
    assert not plan.covers(None, 6 * positions, mask).any()
    # With few slots the pairs are summed exactly, which needs no plan.
    assert make_layer(method="auto").plan_for(None, positions, mask) is None
    assert make_layer(method="exact").plan_for(None, positions, mask) is None
    # A coarse grid of the layer makes the quadrature cheaper than the exact sum.
    coarse = make_layer(method="auto", quadrature_grid=lebedev_grid(0.0))
    thirty_atoms = np.concatenate([positions] * 5, axis=1) + np.arange(30)[:, None] / 10
    plan = coarse.plan_for(None, thirty_atoms, np.ones((1, 30), bool))
    assert plan.grid.max_phase > coarse.quadrature_grid.max_phase


@pytest.mark.parametrize("times", [1.0, 1.3, 6.0])
def test_uncovered_molecules_give_nan_in_a_trace_and_an_error_outside(batch, times):
    efa = make_layer()
    positions, mask = batch[1][:1], np.ones((1, SLOTS), bool)
    plan = efa.plan_for(None, positions, mask)
    large = times * jnp.asarray(positions[0])
    covered = plan.covers(None, large, mask[0])
    assert covered == (times < 1.2)
    assert finite(update_and_forces(efa, plan, large, None)) == covered
    # Without a plan the grid of the layer has the same limit.
    with_grid = eqx.tree_at(
        lambda x: x.quadrature_grid, efa, plan.grid, is_leaf=lambda x: x is None
    )
    assert finite(update_and_forces(with_grid, None, large, None)) == covered
    # Pairs are exact for every molecule.
    assert finite(update_and_forces(make_layer(method="exact"), plan, large, None))
    full_mask = jnp.ones(SLOTS, bool)
    evaluate = lambda: efa(jnp.ones((SLOTS, 4)), large, None, full_mask, plan=plan)
    if covered:
        assert jnp.all(jnp.isfinite(evaluate()[0]))
    else:
        with pytest.raises(ValueError, match="beyond the grid's.*a plan for this"):
            evaluate()


def test_only_the_uncovered_molecules_of_a_batch_are_nan(batch):
    efa = make_layer()
    positions, mask = jnp.asarray(batch[1]), jnp.asarray(batch[2])
    plan = efa.plan_for(None, positions[1:], mask[1:])
    features = jnp.ones((SLOTS, 4))

    @eqx.filter_jit
    def updates(positions):
        update = lambda r, m: efa(features, r, None, m, plan=plan)[0]
        return jax.vmap(update)(positions, mask)

    assert jnp.all(jnp.isfinite(updates(positions)[1:]))
    # A graph without atoms is covered and zero.
    grown = np.asarray(updates(positions.at[1].multiply(3.0)))
    assert np.all(np.isnan(grown[1][batch[2][1]])) and not np.any(grown[2])


def test_plans_of_the_other_boundary_conditions_raise_errors(batch):
    efa = make_layer()
    cells, positions, mask = (x[:1] for x in batch)
    crystal = efa.plan(cells[0], positions[0], mask[0])
    molecule = efa.plan(None, positions[0], mask[0])
    call = lambda cell, plan: update_and_forces(
        efa, plan, jnp.asarray(positions[0]), cell
    )
    with pytest.raises(
        ValueError, match="for `cell=None` is an OpenPlan, got a ShellGrid"
    ):
        call(None, crystal)
    with pytest.raises(
        ValueError, match="for `cell=cell` is a ShellGrid, got an OpenPlan"
    ):
        call(jnp.asarray(cells[0]), molecule)


def test_traced_frequencies_beyond_the_grid_give_nan():
    positions, features = jnp.eye(3), jnp.ones((3, 4))
    plan = OpenPlan(lebedev_grid(3.0), 1.0)

    @jax.jit
    def result(omegas):
        return attend(
            *[features] * 3,
            positions,
            frequencies=omegas,
            method="quadrature",
            plan=plan,
        )

    assert jnp.all(jnp.isfinite(result(jnp.array([0.0, 1.0]))))
    assert jnp.all(jnp.isnan(result(jnp.array([0.0, 4.0]))))
