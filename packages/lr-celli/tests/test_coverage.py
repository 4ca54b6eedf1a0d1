"""What a plan serves: said on the host, from the real atoms alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_celli import ChargeEquilibration, Ewald, ParticleMesh

CELL = np.array([[9.0, 0.3, 0], [2.5, 8.5, 0], [-2.0, 1.8, 9.0]])
JUNK = np.nan


@eqx.filter_jit
def evaluate(layer, plan, cells, positions):
    """Energies of a batch in a trace."""
    graphs, slots = positions.shape[:2]
    species, mask = jnp.full(slots, 6), jnp.ones(slots, bool)
    features = jr.normal(jr.key(1), (slots, 4))

    def one(cell, places, plan):
        facts = {"species": species, "total_charge": jnp.zeros(()), "plan": plan}
        return layer(features, places, cell, mask, **facts)[1]

    assert graphs == len(cells)
    return jax.vmap(one)(cells, positions, plan)


@pytest.fixture
def batch():
    """Three graphs: six atoms, four atoms of another cell, none; padding is junk."""
    rng = np.random.default_rng(0)
    mask = np.arange(6) < np.array([6, 4, 0])[:, None]
    positions = np.where(mask[..., None], rng.uniform(0, 9, (3, 6, 3)), JUNK)
    cells = np.stack([CELL, 1.1 * CELL, np.zeros((3, 3))])
    return cells, positions, mask


@pytest.fixture(params=["dense", "iterative"])
def layer(request):
    options = {"hidden": (4,), "solver": request.param, "width_bounds": (0.1, 1.0)}
    return ChargeEquilibration(4, key=jr.key(0), tolerance=1e-3, **options)


def test_a_plan_covers_what_it_was_made_from(layer, batch):
    plan = layer.plan_for(*batch)
    assert isinstance(plan, ParticleMesh if layer.solver == "iterative" else Ewald)
    assert np.all(plan.covers(*batch)) and np.shape(plan.covers(*batch)) == (3,)
    cells, positions, mask = batch
    # Neither positions of padding nor cells of graphs without atoms matter.
    others = np.where(mask[..., None], positions, 1e6)
    cells = np.where(mask.any(1)[:, None, None], cells, np.nan)
    assert np.all(plan.covers(cells, others, mask))


def test_open_boundaries_are_not_what_a_lattice_sum_serves(layer, batch):
    plan = layer.plan_for(*batch)
    assert plan.covers(None, *batch[1:]).tolist() == [False, False, True]
    assert layer.plan_for(None, *batch[1:]) is None


def test_what_moved_or_strained_beyond_is_said_for_every_graph(layer, batch):
    cells, positions, mask = batch
    plan = layer.plan_for(*batch)
    for step, kept in ((0.2, True), (0.3, layer.solver == "dense")):
        moved = positions.copy()
        moved[1, 3, 1] += step
        assert plan.covers(cells, moved, mask).tolist() == [True, kept, True]
    # All atoms moved as one are found where they are, not where they were.
    shifted = positions + 0.3
    assert np.all(plan.covers(cells, shifted, mask)) == (layer.solver == "dense")
    strained = np.stack([cells[0], 1.05 * cells[1], cells[2]])
    together = np.stack([positions[0], 1.05 * positions[1], positions[2]])
    assert plan.covers(strained, together, mask).tolist() == [True, False, True]
    flat = np.stack([np.zeros((3, 3)), *cells[1:]])
    assert plan.covers(flat, positions, mask).tolist() == [False, True, True]


def test_wrapping_an_atom_is_no_step(layer, batch):
    cells, positions, mask = batch
    wrapped = positions.copy()
    wrapped[0, 2] += cells[0, 1] - 2 * cells[0, 2]
    assert np.all(layer.plan_for(*batch).covers(cells, wrapped, mask))


def test_an_atom_that_was_padding_is_not_covered():
    rng = np.random.default_rng(1)
    positions, few = rng.uniform(0, 9, (5, 3)), np.arange(5) < 4
    positions[4] = 0.0  # where arrays of padding have their atoms
    plan = ParticleMesh.for_structures(CELL, positions, few, width_max=0.7)
    assert plan.covers(CELL, positions, few) is True
    assert plan.covers(CELL, positions) is True  # padding as when it was made
    assert plan.covers(CELL, positions, np.ones(5, bool)) is False
    lost = np.where(np.arange(5)[:, None] == 1, np.inf, positions)
    assert plan.covers(CELL, lost, few) is False


def test_structures_of_another_size_are_refused(layer, batch):
    plan = layer.plan_for(*batch)
    cells, positions, mask = batch
    with pytest.raises(ValueError, match=r"plan was made for (cells|positions) of sh"):
        plan.covers(cells[:2], positions[:2], mask[:2])
    if layer.solver == "iterative":
        with pytest.raises(ValueError, match=r"shape \[3, 6, 3\], got \[3, 5, 3\]"):
            plan.covers(cells, positions[:, :5], mask[:, :5])


def test_covered_is_finite_and_uncovered_is_not(layer, batch):
    """The word on the host is that of the sums."""
    cells, positions, mask = (x[:1] for x in batch)
    plan = layer.plan_for(cells, positions, mask)
    moved = positions.copy()
    moved[0, 0] += 3.0
    for place in ((cells, positions), (cells, moved), (1.05 * cells, positions)):
        found = evaluate(layer, plan, jnp.asarray(place[0]), jnp.asarray(place[1]))
        assert bool(jnp.all(jnp.isfinite(found))) == np.all(plan.covers(*place, mask))
