"""Plans of lattice sums under a barostat: one for the whole run, or several."""

import ase.build
import jax
import jax.numpy as jnp
import lr_les
import numpy as np
import pytest
from ase import units
from bench.dynamics.engine.engine import Engine
from bench.dynamics.engine.ensembles import NPT, AtomicState, Conditions
from bench.dynamics.engine.interaction import Interaction
from bench.dynamics.engine.plans import make_plan

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
    """Repulsion that vanishes at the cutoff, and fixed charges."""
    vectors = positions[senders] - positions[receivers]
    vectors = vectors + shifts.astype(positions.dtype) @ box
    real = senders < len(positions)
    r = jnp.sqrt(jnp.where(real, jnp.sum(vectors**2, 1), 1.0))
    pair = jnp.where(real, 40.0 * (1 - r / CUTOFF) ** 4, 0.0)
    return 0.5 * jnp.sum(pair) + coulomb_energy(positions, box, plan)


def coulomb_energy(positions, box, plan):
    """Energy of the charges with the plan of a batch of one structure."""
    energies = jax.vmap(
        lambda r, c, p: lr_les.energy(jnp.asarray(CHARGES), r, c, plan=p)
    )
    return jnp.sum(energies(positions[None], box[None], plan))


def ionic(margin, planned_cells):
    def plan_for(positions, cell, _):
        planned_cells.append(cell)
        structures = np.asarray(cell, float)[None], positions[None]
        return lr_les.KGrid.for_structures(*structures, margin=margin)

    return Interaction(CUTOFF, energy, plan_for=plan_for)


def make_engine(margin, planned_cells):
    atoms = salt()
    engine = Engine(
        ionic(margin, planned_cells), NPT(20.0, 40.0), atoms.cell.array, timestep=1.0
    )
    zero = np.zeros((1, len(atoms), 3))
    masses = atoms.get_masses()[None, :, None]
    arrays = map(jnp.asarray, (atoms.positions[None], zero, zero, masses))
    conditions = Conditions(np.array(300 * units.kB), np.array(10 * units.GPa))
    engine.start(AtomicState(*arrays), conditions)
    return engine, conditions


def test_a_new_plan_does_not_change_the_trajectory():
    """The window of the sum is zero at the edge of the grid of any plan."""
    many, few = [], []
    (often, conditions), (once, _) = make_engine(0.02, many), make_engine(0.3, few)
    for _ in range(6):
        a = often.advance(20, conditions, np.ones(1, bool))
        b = once.advance(20, conditions, np.ones(1, bool))
        np.testing.assert_allclose(a.conserved, b.conserved, atol=1e-8)
        np.testing.assert_allclose(a.box, b.box, atol=1e-8)
    assert len(few) == 1 < len(many)
    start = np.linalg.det(salt().cell.array)
    assert abs(np.linalg.det(b.box[0]) / start - 1) > 0.05
    assert once.compilations == 1


def test_energy_is_smooth_while_the_cell_changes_with_one_plan():
    """Third differences converge with the spacing; those of a sharp cutoff diverge."""
    atoms = salt()
    smooth = make_plan(ionic(0.1, []), atoms.positions, atoms.cell.array).plan
    structures = atoms.cell.array[None], atoms.positions[None]
    sharp = lr_les.KGrid.for_structures(*structures, dl=2.0, margin=0.1)
    roughness = {}
    for name, plan in (("smooth", smooth), ("sharp", sharp)):

        @jax.jit
        @jax.vmap
        def energy_of(strain, plan=plan):
            box = (1 + strain) * atoms.cell.array
            positions = (1 + strain) * atoms.positions
            return coulomb_energy(positions, box, plan)

        values = np.asarray(energy_of(np.linspace(-0.05, 0.05, 201)))
        coarse = np.abs(np.diff(values[::2], 3)).max() / (2 * 5e-4) ** 3
        roughness[name] = np.abs(np.diff(values, 3)).max() / 5e-4**3 / coarse
    # A function with three derivatives gives 1, a jump of the energy 8.
    assert roughness["smooth"] < 1.1
    assert roughness["sharp"] > 4


class MaximalExtent:
    """A plan that covers structures no larger than the one it was made for."""

    def __init__(self, positions):
        self.largest = self.extent(positions)

    def extent(self, positions):
        return np.ptp(positions, axis=-2).max(axis=-1)

    def covers(self, cells, positions, mask):
        assert cells is None and mask.all() and mask.shape == positions.shape[:-1]
        return self.extent(positions) <= self.largest


def test_plans_of_molecules_are_valid_until_the_molecule_grows():
    calls = []

    def plan_for(positions, cell, margin):
        calls.append((positions, margin))
        return {"grid": MaximalExtent(positions) if cell is None else np.ones(3)}

    interaction = Interaction(CUTOFF, energy, plan_for=plan_for)
    atoms = ase.build.molecule("C2H6")
    plan = make_plan(interaction, atoms.positions, None)
    assert plan.covers(atoms.positions, None)
    assert plan.covers(1.2 * atoms.positions, None)
    assert not plan.covers(1.3 * atoms.positions, None)
    # A plan without `covers` is valid only for the crystal it was made for.
    cell = 9 * np.eye(3)
    fixed = make_plan(interaction, atoms.positions, cell)
    assert fixed.covers(atoms.positions, cell)
    assert not fixed.covers(atoms.positions, 1.01 * cell)
    assert not fixed.covers(atoms.positions + 0.1, cell)
    # A fixed cell needs no margin.
    make_plan(interaction, atoms.positions, cell, moves_box=False)
    assert calls[-1][1] < 0.01 < calls[-2][1]
