"""Coverage of structures by plans: checked on the host, for the real atoms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from lr_celli import ChargeEquilibration, Ewald, ParticleMesh

CELL = np.array([[9.0, 0.3, 0], [2.5, 8.5, 0], [-2.0, 1.8, 9.0]])


@eqx.filter_jit
def evaluate(layer, plan, cells, positions):
    """Energies of a batch, computed in a trace."""
    graphs, slots = positions.shape[:2]
    species, mask = jnp.full(slots, 6), jnp.ones(slots, bool)
    features = jr.normal(jr.key(1), (slots, 4))

    def energies(cell, positions, plan):
        kwargs = {"species": species, "total_charge": jnp.zeros(()), "plan": plan}
        return layer(features, positions, cell, mask, **kwargs)[1]

    assert graphs == len(cells)
    return jax.vmap(energies)(cells, positions, plan)


@pytest.fixture
def batch():
    """Three graphs: six atoms, four atoms in another cell, and none; padding is NaN."""
    rng = np.random.default_rng(0)
    mask = np.arange(6) < np.array([6, 4, 0])[:, None]
    positions = np.where(mask[..., None], rng.uniform(0, 9, (3, 6, 3)), np.nan)
    cells = np.stack([CELL, 1.1 * CELL, np.zeros((3, 3))])
    return cells, positions, mask


@pytest.fixture(params=["dense", "iterative"])
def layer(request):
    options = {"hidden": (4,), "solver": request.param, "width_bounds": (0.1, 1.0)}
    return ChargeEquilibration(4, key=jr.key(0), tolerance=1e-3, **options)


def test_a_plan_covers_its_own_structures(layer, batch):
    plan = layer.plan_for(*batch)
    assert isinstance(plan, ParticleMesh if layer.solver == "iterative" else Ewald)
    assert np.all(plan.covers(*batch)) and np.shape(plan.covers(*batch)) == (3,)
    cells, positions, mask = batch
    # Positions of padding and cells of graphs without atoms are ignored.
    other_positions = np.where(mask[..., None], positions, 1e6)
    cells = np.where(mask.any(1)[:, None, None], cells, np.nan)
    assert np.all(plan.covers(cells, other_positions, mask))
    for value in (np.nan, np.inf):
        broken = positions.copy()
        broken[1, 2, 0] = value
        assert plan.covers(cells, broken, mask).tolist() == [True, False, True]


def test_open_boundaries_are_not_covered(layer, batch):
    plan = layer.plan_for(*batch)
    assert plan.covers(None, *batch[1:]).tolist() == [False, False, True]
    assert layer.plan_for(None, *batch[1:]) is None


def test_displacements_and_strains_are_checked_per_graph(layer, batch):
    cells, positions, mask = batch
    plan = layer.plan_for(*batch)
    for displacement, covered in ((0.2, True), (0.3, layer.solver == "dense")):
        displaced = positions.copy()
        displaced[1, 3, 1] += displacement
        assert plan.covers(cells, displaced, mask).tolist() == [True, covered, True]
    # A translation of all atoms counts as a displacement of each.
    translated = positions + 0.3
    assert np.all(plan.covers(cells, translated, mask)) == (layer.solver == "dense")
    strained = np.stack([cells[0], 1.05 * cells[1], cells[2]])
    scaled = np.stack([positions[0], 1.05 * positions[1], positions[2]])
    assert plan.covers(strained, scaled, mask).tolist() == [True, False, True]
    singular = np.stack([np.zeros((3, 3)), *cells[1:]])
    assert plan.covers(singular, positions, mask).tolist() == [False, True, True]


def test_wrapping_an_atom_is_not_a_displacement(layer, batch):
    cells, positions, mask = batch
    wrapped = positions.copy()
    wrapped[0, 2] += cells[0, 1] - 2 * cells[0, 2]
    assert np.all(layer.plan_for(*batch).covers(cells, wrapped, mask))


def test_an_atom_that_was_padding_is_not_covered():
    rng = np.random.default_rng(1)
    positions, mask = rng.uniform(0, 9, (5, 3)), np.arange(5) < 4
    positions[4] = 0.0  # the usual position of padding
    plan = ParticleMesh.for_structures(CELL, positions, mask, width_max=0.7)
    assert plan.covers(CELL, positions, mask) is True
    assert plan.covers(CELL, positions) is True  # uses the padding of the plan
    assert plan.covers(CELL, positions, np.ones(5, bool)) is False
    infinite = np.where(np.arange(5)[:, None] == 1, np.inf, positions)
    assert plan.covers(CELL, infinite, mask) is False


def test_structures_of_another_size_raise(layer, batch):
    plan = layer.plan_for(*batch)
    cells, positions, mask = batch
    with pytest.raises(ValueError, match=r"plan was made for (cells|positions) of sh"):
        plan.covers(cells[:2], positions[:2], mask[:2])
    if layer.solver == "iterative":
        with pytest.raises(ValueError, match=r"shape \[3, 6, 3\], got \[3, 5, 3\]"):
            plan.covers(cells, positions[:, :5], mask[:, :5])


def test_results_are_finite_exactly_if_covered(layer, batch):
    """The check on the host agrees with the check in the trace."""
    cells, positions, mask = (x[:1] for x in batch)
    plan = layer.plan_for(cells, positions, mask)
    displaced = positions.copy()
    displaced[0, 0] += 3.0
    for new_cells, new_positions in (
        (cells, positions),
        (cells, displaced),
        (1.05 * cells, positions),
    ):
        energies = evaluate(
            layer, plan, jnp.asarray(new_cells), jnp.asarray(new_positions)
        )
        covered = plan.covers(new_cells, new_positions, mask)
        assert bool(np.all(np.isfinite(energies))) == np.all(covered)
