"""The engine with analytic potentials, compared with ASE and with other settings."""

import ase
import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import units
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet
from bench.dynamics.engine.engine import Engine
from bench.dynamics.engine.ensembles import (
    NPT,
    NVE,
    AtomicState,
    Conditions,
    Langevin,
)
from bench.dynamics.engine.interaction import Interaction

EPSILON, SIGMA, CUTOFF = 0.0104, 3.4, 6.5
# jax-md keeps time steps in single precision; this one is the same in both.
DT = float(np.float32(2.0 * units.fs)) / units.fs


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def lennard_jones(smooth=True):
    """Lennard-Jones argon with ASE's pair energy, truncated or smooth at the cutoff."""

    def energy(weights, positions, senders, receivers, shifts, box, plan, triplets):
        vectors = positions[senders] - positions[receivers]
        if box is not None:
            vectors = vectors + shifts.astype(positions.dtype) @ box
        real = senders < len(positions)
        squared = jnp.where(real, jnp.sum(vectors**2, 1), 1.0)
        c6 = (SIGMA**2 / squared) ** 3
        pair = 4 * EPSILON * (c6**2 - c6)
        if smooth:
            start, end = (0.66 * CUTOFF) ** 2, CUTOFF**2
            fade = (end - squared) ** 2 * (end + 2 * squared - 3 * start)
            fade = fade / (end - start) ** 3
            inside = jnp.where(squared < end, fade, 0.0)
            pair = pair * jnp.where(squared < start, 1.0, inside)
        return 0.5 * jnp.sum(jnp.where(real, pair, 0.0))

    return Interaction(CUTOFF, energy)


def argon(repeat=2, seed=0, kelvin=60.0):
    """Zero total momentum; the cell is triclinic and smaller than the cutoff."""
    atoms = ase.build.bulk("Ar", "fcc", a=5.4).repeat(repeat)
    rng = np.random.default_rng(seed)
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    momenta = rng.normal(size=(len(atoms), 3)) * np.sqrt(
        atoms.get_masses()[:, None] * units.kB * kelvin
    )
    atoms.set_momenta(momenta - momenta.mean(0))
    return atoms


def atomic_state(atoms, replicas=1):
    forces = np.zeros_like(atoms.positions)
    arrays = atoms.positions, atoms.get_momenta(), forces, atoms.get_masses()[:, None]
    return AtomicState(*(jnp.asarray(np.stack([a] * replicas)) for a in arrays))


CONDITIONS = Conditions(60 * units.kB, 0.0)
ACTIVE = np.ones(1, bool)


def make_engine(
    atoms, ensemble=None, timestep=DT, smooth=True, forces=True, replicas=1, **options
):
    cell = atoms.cell.array if atoms.pbc.any() else None
    engine = Engine(
        lennard_jones(smooth), ensemble or NVE(), cell, timestep=timestep, **options
    )
    state = atomic_state(atoms, replicas)
    if forces:
        reference = atoms.copy()
        reference.calc = LennardJones(
            epsilon=EPSILON, sigma=SIGMA, rc=CUTOFF, smooth=smooth, ro=0.66 * CUTOFF
        )
        state = state._replace(
            force=jnp.asarray(np.stack([reference.get_forces()] * replicas))
        )
    engine.start(state, CONDITIONS)
    return engine


@pytest.mark.parametrize("periodic", [True, False])
def test_a_hundred_steps_equal_those_of_ase(periodic):
    atoms = argon()
    if not periodic:
        atoms.pbc, atoms.cell = False, None
    ours = make_engine(atoms, skin=0.4)
    atoms.calc = LennardJones(
        epsilon=EPSILON, sigma=SIGMA, rc=CUTOFF, smooth=True, ro=0.66 * CUTOFF
    )
    reference = VelocityVerlet(atoms, DT * units.fs)
    for _ in range(4):
        reference.run(25)
        snapshot = ours.advance(25, CONDITIONS, ACTIVE)
        np.testing.assert_allclose(
            snapshot.potential[0], atoms.get_potential_energy(), atol=1e-8, rtol=0
        )
        np.testing.assert_allclose(snapshot.positions[0], atoms.positions, atol=1e-8)
        np.testing.assert_allclose(snapshot.momenta[0], atoms.get_momenta(), atol=1e-8)
    assert ours.steps == 100


def test_a_small_cell_and_its_supercell_give_the_same_trajectory():
    small = argon(1, kelvin=0.0).repeat((2, 1, 1))
    small.positions[0] += 0.1
    large = small.repeat((1, 2, 2))
    one, many = make_engine(small, skin=0.5), make_engine(large, skin=0.5)
    for _ in range(2):
        a, b = one.advance(50, CONDITIONS, ACTIVE), many.advance(50, CONDITIONS, ACTIVE)
    np.testing.assert_allclose(4 * a.potential, b.potential, atol=1e-10)
    assert np.ptp(a.positions[0] - small.positions, axis=0).max() > 0.05
    np.testing.assert_allclose(b.positions[0][:2], a.positions[0], atol=1e-9)


def test_energy_error_falls_as_the_square_of_the_time_step():
    errors = []
    for parts in (1, 2, 4):
        engine = make_engine(argon(kelvin=300.0), timestep=8.0 / parts)
        energies = [
            engine.advance(parts, CONDITIONS, ACTIVE).conserved[0] for _ in range(60)
        ]
        errors.append(np.std(energies))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.15)


def test_a_restarted_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path):
    path = tmp_path / "state.npz"
    for ensemble in (Langevin(seed=3), NPT()):
        complete, stopped = (make_engine(argon(), ensemble) for _ in range(2))
        for _ in range(3):
            a = complete.advance(20, CONDITIONS, ACTIVE)
        stopped.advance(20, CONDITIONS, ACTIVE)
        stopped.save(path, {"note": 1})
        restarted = make_engine(argon(seed=1), ensemble)
        assert restarted.restore(path) == {"note": 1} and restarted.steps == 20
        for _ in range(2):
            b = restarted.advance(20, CONDITIONS, ACTIVE)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_array_equal(x, y)


def test_replicas_equal_single_runs():
    langevin = make_engine(argon(), Langevin(seed=3), replicas=3)
    active = np.array([True, True, False])
    first = langevin.advance(20, CONDITIONS, np.ones(3, bool))
    second = langevin.advance(20, CONDITIONS, active)
    assert np.ptp(first.potential) > 1e-6  # the noise differs
    np.testing.assert_array_equal(first.positions[2], second.positions[2])
    nve = make_engine(argon(), replicas=2)
    single = make_engine(argon()).advance(20, CONDITIONS, ACTIVE)
    both = nve.advance(20, CONDITIONS, np.ones(2, bool))
    np.testing.assert_allclose(both.positions[1], single.positions[0], atol=1e-12)
    assert langevin.compilations == nve.compilations == 1


def test_a_block_beyond_the_capacity_is_repeated_with_a_larger_one():
    atoms = argon()
    small, large = make_engine(atoms, skin=0.4), make_engine(atoms, skin=0.4)
    small._capacity = small._capacity._replace(within_cutoff=100)
    a = small.advance(50, CONDITIONS, ACTIVE)
    b = large.advance(50, CONDITIONS, ACTIVE)
    assert small.compilations == 2 and large.compilations == 1
    np.testing.assert_allclose(a.positions, b.positions, atol=1e-12)
    large.advance(50, CONDITIONS, ACTIVE)
    assert large.compilations == 1
