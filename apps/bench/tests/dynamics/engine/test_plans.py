"""Lattice sums under a barostat: one plan while the cell moves, or new ones."""

import ase.build
import jax
import jax.numpy as jnp
import lr_les
import numpy as np
import pytest
from ase import units
from bench.dynamics.engine.engine import Engine
from bench.dynamics.engine.ensembles import NPT, Moving, Targets
from bench.dynamics.engine.interaction import Interaction
from bench.dynamics.engine.plans import planned

CUTOFF = 4.0
CHARGES = 0.8 * np.array([1.0, -1.0] * 4)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def salt():
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    rng = np.random.default_rng(0)
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    atoms.cell[1] += [0.3, 0.0, 0.2]
    return atoms


def energy(weights, positions, senders, receivers, shifts, box, plan, triplets):
    """Repulsion that fades at the cutoff, and fixed charges."""
    vectors = positions[senders] - positions[receivers]
    vectors = vectors + shifts.astype(positions.dtype) @ box
    real = senders < len(positions)
    r = jnp.sqrt(jnp.where(real, jnp.sum(vectors**2, 1), 1.0))
    pair = jnp.where(real, 40.0 * (1 - r / CUTOFF) ** 4, 0.0)
    grid = jax.tree.map(lambda leaf: leaf[0], plan)
    coulomb = lr_les.energy(jnp.asarray(CHARGES), positions, box, grid=grid)
    return 0.5 * jnp.sum(pair) + jnp.sum(coulomb)


def ionic(margin, made):
    def plan_for(positions, cell, _):
        made.append(cell)
        return lr_les.k_grid(np.asarray(cell, float)[None], margin=margin)

    return Interaction(CUTOFF, energy, plan_for=plan_for)


def engine(margin, made):
    atoms = salt()
    run = Engine(ionic(margin, made), NPT(20.0, 40.0), atoms.cell.array, timestep=1.0)
    zero = np.zeros((1, len(atoms), 3))
    masses = atoms.get_masses()[None, :, None]
    aim = Targets(np.array(300 * units.kB), np.array(10 * units.GPa))
    run.start(
        Moving(*map(jnp.asarray, (atoms.positions[None], zero, zero, masses))), aim
    )
    return run, aim


def test_a_new_plan_changes_nothing():
    """The window of the sum ends within the grid, whatever cell it was made for."""
    many, few = [], []
    (often, aim), (once, _) = engine(0.02, many), engine(0.3, few)
    for _ in range(6):
        a = often.advance(20, aim, np.ones(1, bool))
        b = once.advance(20, aim, np.ones(1, bool))
        np.testing.assert_allclose(a.conserved, b.conserved, atol=1e-8)
        np.testing.assert_allclose(a.box, b.box, atol=1e-8)
    assert len(few) == 1 < len(many)
    start = np.linalg.det(salt().cell.array)
    assert abs(np.linalg.det(b.box[0]) / start - 1) > 0.05
    assert once.compilations == 1


def test_energy_is_smooth_while_the_cell_changes_under_one_plan():
    """Third differences settle as points come closer; with a sharp cut they grow."""
    atoms = salt()
    smooth = planned(ionic(0.1, []), atoms.positions, atoms.cell.array).plan
    sharp = lr_les.k_grid(atoms.cell.array[None], dl=2.0, margin=0.1)
    roughness = {}
    for name, plan in (("smooth", smooth), ("sharp", sharp)):
        grid = jax.tree.map(lambda leaf: leaf[0], plan)

        @jax.jit
        @jax.vmap
        def of(strain, grid=grid):
            box, where = (1 + strain) * atoms.cell.array, (1 + strain) * atoms.positions
            return jnp.sum(lr_les.energy(jnp.asarray(CHARGES), where, box, grid=grid))

        values = np.asarray(of(np.linspace(-0.05, 0.05, 201)))
        coarse = np.abs(np.diff(values[::2], 3)).max() / (2 * 5e-4) ** 3
        roughness[name] = np.abs(np.diff(values, 3)).max() / 5e-4**3 / coarse
    # A function with three derivatives gives 1, a jump of the energy 8.
    assert roughness["smooth"] < 1.1
    assert roughness["sharp"] > 4


class Reach:
    """A plan that serves structures no larger than the one it was made for."""

    def __init__(self, positions):
        self.reach = self.across(positions)

    def across(self, positions):
        return np.ptp(positions, axis=-2).max(axis=-1)

    def covers(self, cells, positions, mask):
        assert cells is None and mask.all() and mask.shape == positions.shape[:-1]
        return self.across(positions) <= self.reach


def test_plans_of_molecules_last_until_they_grow():
    made = []

    def plan_for(positions, cell, margin):
        made.append((positions, margin))
        return {"grid": Reach(positions) if cell is None else np.ones(3)}

    interaction = Interaction(CUTOFF, energy, plan_for=plan_for)
    atoms = ase.build.molecule("C2H6")
    found = planned(interaction, atoms.positions, None)
    assert found.covers(atoms.positions, None)
    assert found.covers(1.2 * atoms.positions, None)
    assert not found.covers(1.3 * atoms.positions, None)
    # A plan without a word on what it covers serves the one crystal it was made for.
    cell = 9 * np.eye(3)
    only = planned(interaction, atoms.positions, cell)
    assert only.covers(atoms.positions, cell)
    assert not only.covers(atoms.positions, 1.01 * cell)
    assert not only.covers(atoms.positions + 0.1, cell)
    # A cell that stays needs no room.
    planned(interaction, atoms.positions, cell, moves=False)
    assert made[-1][1] < 0.01 < made[-2][1]
