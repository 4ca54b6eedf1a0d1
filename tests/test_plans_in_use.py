"""A calculator in use gives what a fresh one gives, whatever moved meanwhile."""

import ase
import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import lr_celli
import lr_efa
import lr_les
import numpy as np
import pytest
from backbones._hooks import Hooks

CHANNELS = 4


def celli(key, solver="dense"):
    return lr_celli.ChargeEquilibration(
        CHANNELS, hidden=(4,), solver=solver, width_bounds=(0.1, 1.0), key=key
    )


def efa(key, **settings):
    options = {
        "omega_max": 1.5,
        "shell_width": 0.3,
        "qk_size": 4,
        "v_size": 4,
    } | settings
    return lr_efa.EuclideanFastAttention(CHANNELS, **options, key=key)


LAYERS = {
    "CELLI, dense": celli,
    "CELLI, mesh": lambda key: celli(key, "iterative"),
    "polarizable CELLI": lambda key: lr_celli.PolarizableChargeEquilibration(
        celli(key)
    ),
    "LES": lambda key: lr_les.LatentEwald(CHANNELS, method="direct", key=key),
    "LES, mesh": lambda key: lr_les.LatentEwald(CHANNELS, method="mesh", key=key),
    "EFA": efa,
    "EFA, on a grid": lambda key: efa(key, method="quadrature"),
    "EFA, cells ignored": lambda key: efa(key, boundary="ignore", method="quadrature"),
    "sum": lambda key: bb.Sum((celli(key, "iterative"), efa(jr.fold_in(key, 1)))),
}


# Without a cell, solvers of lattice sums are one.
OPEN = ("CELLI, dense", "polarizable CELLI", "LES", "EFA", "EFA, on a grid", "sum")
CASES = [*((name, True) for name in LAYERS), *((name, False) for name in OPEN)]
# One layer of each class of plans.
PLANNED = ("CELLI, dense", "CELLI, mesh", "LES", "LES, mesh", "EFA", "sum")
PLANNED += ("EFA, cells ignored",)


@pytest.fixture(scope="module", autouse=True)
def optimization_enabled():
    """Overrides the fixture of `conftest.py`: many layers, and only values matter."""


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


class Bare(eqx.Module):
    """A backbone of elements and one layer: quick to compile."""

    embedding: jax.Array
    readout: jax.Array
    hooks: Hooks
    elements: tuple[int, ...] = eqx.field(static=True, default=(8, 22))
    cutoff: float = eqx.field(static=True, default=3.0)
    needs_triplets: bool = eqx.field(static=True, default=False)
    has_charges: bool = eqx.field(static=True, default=True)

    def plan_for(self, cells, positions, mask, **margin):
        return self.hooks.plan_for(cells, positions, mask, **margin)

    def __call__(self, batch):
        features = self.embedding[batch.species.reshape(-1), None]
        features, told = self.hooks("embedding", features, batch)
        short = features[:, 0] @ self.readout
        return self.hooks.output(short, {"embedding": told}, batch)


def perturbed(tree):
    """Off the start, where some maps are zero."""
    rng = np.random.default_rng(0)
    move = lambda x: x + 0.1 * rng.normal(size=x.shape) if eqx.is_array(x) else x
    return jax.tree.map(move, tree)


def potential_with(layer):
    embedding = jr.normal(jr.key(2), (119, CHANNELS))
    readout = jr.normal(jr.key(3), (CHANNELS, 1))
    hooks = Hooks({"embedding": layer}, offered={"embedding": 0})
    return bb.Potential(Bare(embedding, readout, hooks), {8: 0.0, 22: 0.0})


def start(periodic):
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid([0, 1, 2], [0, 1], [0, 1]), -1).reshape(-1, 3)
    positions = 2.3 * grid + 0.2 * rng.uniform(size=grid.shape)
    cell = np.diag([10.0, 8.7, 8.4]) + 0.3 * rng.uniform(size=(3, 3))
    return ase.Atoms("TiO" * 6, positions, cell=cell, pbc=periodic)


def moves(atoms):
    """One atom by 0.3 and 3 Å, all of them, and the cell by 5 %."""
    small, large, all_of_them = atoms.copy(), atoms.copy(), atoms.copy()
    small.positions[3] += [0.0, 0.3, 0.0]
    large.positions[-1] += [3.0, 0.0, 0.0]
    all_of_them.positions += [1.7, -20.3, 0.4]
    found = [small, large, all_of_them]
    if atoms.pbc.all():
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array * 1.05, scale_atoms=True)
        found.append(strained)
    return [*found, atoms]


def all_of(calculator, atoms):
    atoms = atoms.copy()
    atoms.calc = calculator
    return [atoms.get_potential_energy(), atoms.get_forces(), atoms.get_charges()]


@pytest.mark.parametrize(("name", "periodic"), CASES)
def test_a_calculator_in_use_gives_what_a_fresh_one_gives(name, periodic):
    potential = potential_with(perturbed(LAYERS[name](jr.key(5))))
    used, began = bb.Calculator(potential, total_charge=0.0), start(periodic)
    all_of(used, began)
    for atoms in moves(began):
        fresh = bb.Calculator(potential, total_charge=0.0)
        for one, other in zip(all_of(used, atoms), all_of(fresh, atoms), strict=True):
            assert np.isfinite(one).all()
            np.testing.assert_allclose(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "periodic"),
    [*((name, True) for name in PLANNED), ("EFA, on a grid", False)],
)
def test_a_plan_gives_the_right_numbers_or_none(name, periodic):
    """Outside its cover: an error where numbers are known, NaN where they are not."""
    layer, began = perturbed(LAYERS[name](jr.key(5))), start(periodic)
    features, mask = jr.normal(jr.key(6), (18, CHANNELS)), np.ones((1, 18), bool)
    species = jnp.asarray(began.numbers)
    features, mask = features[: len(began)], mask[:, : len(began)]
    place = lambda atoms: (
        np.asarray(atoms.cell.array)[None] if periodic else None,
        atoms.positions[None],
    )

    def call(positions, cell, plan):
        return layer(
            features,
            positions,
            cell,
            jnp.asarray(mask[0]),
            species=species,
            total_charge=jnp.array(0.0),
            plan=plan,
        )

    inside = eqx.filter_jit(call)
    plan = layer.plan_for(*place(began), mask, margin=0.01)
    own = lambda plan: jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], plan)
    for atoms in moves(began):
        cell = jnp.asarray(atoms.cell.array) if periodic else None
        positions = jnp.asarray(atoms.positions)
        found = inside(positions, cell, own(plan))
        if bb.plan_covers(plan, *place(atoms), mask):
            fresh = layer.plan_for(*place(atoms), mask, margin=0.01)
            for one, other in zip(
                found, inside(positions, cell, own(fresh)), strict=True
            ):
                np.testing.assert_allclose(one, other, atol=1e-4, rtol=0)
            continue
        assert np.isnan(np.asarray(found[0]) + np.asarray(found[1])[:, None]).any()
        with pytest.raises(ValueError, match="make one|plan"):
            call(positions, cell, own(plan))
