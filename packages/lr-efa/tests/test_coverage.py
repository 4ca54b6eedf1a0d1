"""What a plan serves: said on the host, from the real atoms alone, and in a trace."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_efa import EuclideanFastAttention, OpenPlan, ShellGrid, attend, lebedev_grid

CELL = np.array([[6.0, 0.3, 0], [1.5, 6.5, 0], [-1.0, 0.8, 7.0]])
SLOTS = 6


def layer(**options):
    options = {
        "qk_size": 4,
        "v_size": 2,
        "shell_width": 0.4,
        "method": "quadrature",
    } | options
    made = EuclideanFastAttention(4, omega_max=1.0, key=jr.key(0), **options)
    return eqx.tree_at(lambda x: x.output, made, jr.normal(jr.key(1), (1, 2, 4)))


@pytest.fixture
def batch():
    """Three graphs: six atoms, four atoms of another cell, none; padding is junk."""
    rng = np.random.default_rng(0)
    mask = np.arange(SLOTS) < np.array([6, 4, 0])[:, None]
    positions = rng.uniform(0, 6, (3, SLOTS, 3))
    positions = np.where(mask[..., None], positions, np.nan)
    return np.stack([CELL, 1.1 * CELL, np.eye(3)]), positions, mask


@eqx.filter_jit
def slopes(layer, plan, positions, cell):
    """Update and forces of one structure without padding, in a trace."""
    features = jr.normal(jr.key(2), (len(positions), 4))
    mask = jnp.ones(len(positions), bool)

    def update(positions):
        return layer(features, positions, cell, mask, plan=plan)[0]

    total, pull = jax.vjp(update, positions)
    return total, pull(jnp.ones_like(total))[0]


def finite(found):
    known = [jnp.isfinite(x) for x in found]
    # All or nothing: no part of a result is right beside a wrong one.
    assert all(bool(x.all()) == bool(x.any()) for x in known)
    return bool(known[0].all() and known[1].all())


def test_crystals_answer_by_their_cells(batch):
    cells, positions, mask = batch
    plan = layer().plan_for(*batch)
    assert isinstance(plan, ShellGrid) and plan.covers(*batch).all()
    assert plan.covers(None, *batch[1:]).tolist() == [False, False, True]
    strained = cells * np.array([1.0, 1.05, np.nan])[:, None, None]
    assert plan.covers(strained, positions + 9.0, mask).tolist() == [True, False, True]


@pytest.mark.parametrize("boundary", ["cell", "ignore"])
def test_molecules_answer_by_their_extent(batch, boundary):
    cells, positions, mask = batch
    cells = cells if boundary == "ignore" else None
    efa = layer(boundary=boundary)
    plan = efa.plan_for(cells, positions, mask)
    assert isinstance(plan, OpenPlan) and plan.covers(cells, positions, mask).all()
    # Twice the largest distance from the centroid: no two atoms are farther apart.
    live = positions[1, :4]
    radius = np.linalg.norm(live - live.mean(0), axis=1).max()
    for growth in (0.999, 1.001):
        grown = positions.copy()
        grown[1] *= growth * plan.max_extent / (2 * radius)
        covered = plan.covers(cells, grown + 100.0, mask)
        assert covered.tolist() == [True, growth < 1, True]
    one = None if cells is None else cells[0]
    assert plan.covers(one, positions[0], mask[0]) is True
    # Whether a cell is periodic is part of what the plan was made for.
    served = plan.covers(batch[0], positions, mask)
    assert served.tolist() == ([True] * 3 if boundary == "ignore" else [False] * 3)


def test_the_grid_of_the_layer_has_a_reach_too(batch):
    positions = batch[1][:1]
    mask = np.ones((1, SLOTS), bool)
    own = layer(grid=lebedev_grid(20.0))
    plan = own.plan_for(None, positions, mask)
    assert plan.grid == own.grid and plan.covers(None, positions, mask).all()
    assert not plan.covers(None, 6 * positions, mask).any()
    # Few slots sum over pairs, which every structure may.
    assert layer(method="auto").plan_for(None, positions, mask) is None
    assert layer(method="exact").plan_for(None, positions, mask) is None
    # Not so where the layer's own grid is so coarse that it is used for them.
    coarse = layer(method="auto", grid=lebedev_grid(0.0))
    many = np.concatenate([positions] * 5, axis=1) + np.arange(30)[:, None] / 10
    plan = coarse.plan_for(None, many, np.ones((1, 30), bool))
    assert plan.grid.max_phase > coarse.grid.max_phase


@pytest.mark.parametrize("times", [1.0, 1.3, 6.0])
def test_beyond_its_reach_a_plan_gives_nan_in_a_trace_and_an_error_outside(
    batch, times
):
    efa = layer()
    positions, mask = batch[1][:1], np.ones((1, SLOTS), bool)
    plan = efa.plan_for(None, positions, mask)
    large = times * jnp.asarray(positions[0])
    covered = plan.covers(None, large, mask[0])
    assert covered == (times < 1.2)
    assert finite(slopes(efa, plan, large, None)) == covered
    # Without a plan the grid of the layer has the same limit.
    own = eqx.tree_at(lambda x: x.grid, efa, plan.grid, is_leaf=lambda x: x is None)
    assert finite(slopes(own, None, large, None)) == covered
    # Pairs are exact for every molecule.
    assert finite(slopes(layer(method="exact"), plan, large, None))
    every = jnp.ones(SLOTS, bool)
    evaluate = lambda: efa(jnp.ones((SLOTS, 4)), large, None, every, plan=plan)
    if covered:
        assert jnp.all(jnp.isfinite(evaluate()[0]))
    else:
        with pytest.raises(ValueError, match="beyond the grid's.*a plan for this"):
            evaluate()


def test_batches_of_molecules_are_told_apart(batch):
    efa = layer()
    positions, mask = jnp.asarray(batch[1]), jnp.asarray(batch[2])
    plan = efa.plan_for(None, positions[1:], mask[1:])
    features = jnp.ones((SLOTS, 4))

    @eqx.filter_jit
    def updates(positions):
        one = lambda r, m: efa(features, r, None, m, plan=plan)[0]
        return jax.vmap(one)(positions, mask)

    assert jnp.all(jnp.isfinite(updates(positions)[1:]))
    # Graphs without atoms are zero, others are lost one by one.
    found = updates(positions.at[1].multiply(3.0))
    assert jnp.all(jnp.isnan(found[1][mask[1]])) and not jnp.any(found[2])


def test_plans_of_the_other_boundaries_are_refused(batch):
    efa = layer()
    cells, positions, mask = (x[:1] for x in batch)
    crystal = jax.tree.map(lambda x: x[0], efa.plan_for(cells, positions, mask))
    molecule = efa.plan_for(None, positions, mask)
    call = lambda cell, plan: slopes(efa, plan, jnp.asarray(positions[0]), cell)
    with pytest.raises(ValueError, match="for open boundaries is a OpenPlan, got a"):
        call(None, crystal)
    with pytest.raises(ValueError, match="for a cell is a ShellGrid, got a OpenPlan"):
        call(jnp.asarray(cells[0]), molecule)


def test_frequencies_in_a_trace_are_checked_too():
    positions, features = jnp.eye(3), jnp.ones((3, 4))
    grid = lebedev_grid(3.0)

    @jax.jit
    def result(omegas):
        return attend(
            *[features] * 3, positions, omegas, method="quadrature", grid=grid
        )

    assert jnp.all(jnp.isfinite(result(jnp.array([0.0, 1.0]))))
    assert jnp.all(jnp.isnan(result(jnp.array([0.0, 4.0]))))
