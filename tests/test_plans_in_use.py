"""Plans of moving structures: they are replaced, or the result is an error or NaN."""

from typing import ClassVar

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

CHANNELS = 4


def celli(key, solver="dense"):
    return lr_celli.ChargeEquilibration(
        CHANNELS, hidden=(4,), solver=solver, width_bounds=(0.1, 1.0), key=key
    )


def efa(key, **settings):
    options = {
        "omega_max": 1.5,
        "shell_thickness": 0.3,
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


# Without a cell, all methods of the lattice sums are the same.
OPEN = ("CELLI, dense", "polarizable CELLI", "LES", "EFA", "EFA, on a grid", "sum")
CASES = [*((name, True) for name in LAYERS), *((name, False) for name in OPEN)]
# One layer per class of plan.
PLANNED = ("CELLI, dense", "CELLI, mesh", "LES", "LES, mesh", "EFA", "sum")
PLANNED += ("EFA, cells ignored",)


@pytest.fixture(scope="module", autouse=True)
def optimization_enabled():
    """Overrides the fixture of `conftest.py`: many layers, and only values matter."""


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


class MinimalBackbone(bb.AbstractBackbone):
    """A backbone with an element embedding and one layer, which compiles quickly."""

    embedding: jax.Array
    readout: jax.Array
    hooks: bb.Hooks
    elements: tuple[int, ...] = eqx.field(static=True, default=(8, 22))
    cutoff: float = eqx.field(static=True, default=3.0)
    size: None = None
    Size: ClassVar[type] = type(None)
    needs_triplets: ClassVar[bool] = False

    def __call__(self, batch):
        features = self.embedding[batch.species.reshape(-1), None]
        features, output = self.hooks("embedding", features, batch)
        energies = features[:, 0] @ self.readout
        return self.hooks.output(energies, {"embedding": output}, batch)


def perturbed(tree):
    """Changes every parameter from its initial value, which is zero for some."""
    rng = np.random.default_rng(0)

    def change(x):
        if not eqx.is_array(x):
            return x
        return jnp.asarray(np.asarray(x) + 0.1 * rng.normal(size=x.shape))

    return jax.tree.map(change, tree)


def make_potential(layer):
    embedding = jr.normal(jr.key(2), (119, CHANNELS))
    readout = jr.normal(jr.key(3), (CHANNELS, 1))
    hooks = bb.Hooks({"embedding": layer}, offered={"embedding": 0})
    return bb.Potential(MinimalBackbone(embedding, readout, hooks), {8: 0.0, 22: 0.0})


def initial_structure(periodic):
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid([0, 1, 2], [0, 1], [0, 1]), -1).reshape(-1, 3)
    positions = 2.3 * grid + 0.2 * rng.uniform(size=grid.shape)
    cell = np.diag([10.0, 8.7, 8.4]) + 0.3 * rng.uniform(size=(3, 3))
    return ase.Atoms("TiO" * 6, positions, cell=cell, pbc=periodic)


def moved_structures(atoms):
    """One atom moved by 0.3 and 3 Å, all atoms moved, and the cell strained by 5 %."""
    small, large, translated = atoms.copy(), atoms.copy(), atoms.copy()
    small.positions[3] += [0.0, 0.3, 0.0]
    large.positions[-1] += [3.0, 0.0, 0.0]
    translated.positions += [1.7, -20.3, 0.4]
    structures = [small, large, translated]
    if atoms.pbc.all():
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array * 1.05, scale_atoms=True)
        structures.append(strained)
    return [*structures, atoms]


def calculate(calculator, atoms):
    atoms = atoms.copy()
    atoms.calc = calculator
    return [atoms.get_potential_energy(), atoms.get_forces(), atoms.get_charges()]


@pytest.mark.parametrize(("name", "periodic"), CASES)
def test_a_calculator_that_was_used_gives_the_results_of_a_new_one(name, periodic):
    potential = make_potential(perturbed(LAYERS[name](jr.key(5))))
    used = bb.Calculator(potential, total_charge=0.0)
    initial = initial_structure(periodic)
    calculate(used, initial)
    for atoms in moved_structures(initial):
        new = bb.Calculator(potential, total_charge=0.0)
        for actual, expected in zip(
            calculate(used, atoms), calculate(new, atoms), strict=True
        ):
            assert np.isfinite(actual).all()
            np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "periodic"),
    [*((name, True) for name in PLANNED), ("EFA, on a grid", False)],
)
def test_results_are_correct_or_invalid_if_not_covered(name, periodic):
    """Not covered: an error outside a trace, NaN in a trace."""
    layer = perturbed(LAYERS[name](jr.key(5)))
    initial = initial_structure(periodic)
    features = jr.normal(jr.key(6), (18, CHANNELS))[: len(initial)]
    mask = np.ones(len(initial), bool)
    species = jnp.asarray(initial.numbers)
    geometry = lambda atoms: (
        np.asarray(atoms.cell.array) if periodic else None,
        atoms.positions,
        mask,
    )

    def call(positions, cell, plan):
        return layer(
            features,
            positions,
            cell,
            jnp.asarray(mask),
            species=species,
            total_charge=jnp.array(0.0),
            plan=plan,
        )

    traced = eqx.filter_jit(call)
    plan = layer.plan(*geometry(initial), margin=0.01)
    for atoms in moved_structures(initial):
        cell = jnp.asarray(atoms.cell.array) if periodic else None
        positions = jnp.asarray(atoms.positions)
        results = jax.device_get(traced(positions, cell, plan))
        if bb.plan_covers(plan, *geometry(atoms)):
            new_plan = layer.plan(*geometry(atoms), margin=0.01)
            expected = traced(positions, cell, new_plan)
            for a, b in zip(results, expected, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-4, rtol=0)
            continue
        assert np.isnan(results[0] + results[1][:, None]).any()
        with pytest.raises(ValueError, match="make one|plan"):
            call(positions, cell, plan)
