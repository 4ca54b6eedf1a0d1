"""Models: the engine against the calculator, and the checks before a simulation."""

import ase
import ase.build
import backbones as bb
import jax
import numpy as np
import pytest
from ase import units
from bench.dynamics.checks.potential import dimer_checks, force_checks, scan_dimers
from bench.dynamics.engine.engine import Engine
from bench.dynamics.engine.ensembles import NVE, Moving, Targets
from bench.dynamics.engine.interaction import interaction
from bench.dynamics.study.recording import Recording
from bench.dynamics.study.spectra import spectra
from bench.model.building import build_potential
from bench.settings.grid import Run

ELEMENTS = {1: -13.0, 6: -40.0, 8: -70.0}


def potential_of(settings, backbone="mace", long_range="none"):
    run = Run("none", "random", backbone, long_range, 0)
    return build_potential(settings, run, ELEMENTS, avg_num_neighbors=6.0, scale=0.3)


@pytest.fixture
def settings(small_grid):
    small = {"channels": 6, "blocks": 2, "down": 4, "output": 6}
    dimenet = type(small_grid.model.dimenet)(**small)
    return small_grid.model.model_copy(update={"dimenet": dimenet})


def crystal(seed=0):
    """Small, triclinic, with images of every atom within the cutoff."""
    rng = np.random.default_rng(seed)
    atoms = ase.build.bulk("C", "diamond", a=3.7).repeat((2, 1, 1))
    atoms.numbers = [6, 8, 6, 1]
    atoms.positions += rng.normal(scale=0.05, size=(4, 3))
    return atoms


def molecule():
    return ase.build.molecule("CH3OH")


CASES = {
    "mace, all layers, crystal": ("mace", "celli+les", crystal),
    "dimenet, ion": ("dimenet", "charge", molecule),
}


@pytest.mark.parametrize("case", CASES)
def test_the_engine_moves_atoms_as_the_calculator_would(case, settings):
    """Energies, and thirty steps of ASE's integrator with the model's calculator."""
    backbone, layers, make = CASES[case]
    with jax.enable_x64(True):
        potential, atoms = potential_of(settings, backbone, layers), make()
        charge = 0.0 if atoms.pbc.all() else 1.0
        calculator = bb.Calculator(potential, total_charge=charge)
        atoms.calc = calculator
        cell = atoms.cell.array if atoms.pbc.all() else None
        structure = bb.Structure.from_ase(atoms, total_charge=charge)
        engine = Engine(
            interaction(potential, structure), NVE(), cell, timestep=0.5, skin=0.5
        )
        rng = np.random.default_rng(0)
        masses = atoms.get_masses()[:, None]
        momenta = np.sqrt(masses * units.kB * 300) * rng.normal(size=(len(atoms), 3))
        atoms.set_momenta(momenta)
        arrays = atoms.positions, momenta, atoms.get_forces(), masses
        aim = Targets(np.array(0.026), np.array(0.0))
        engine.start(Moving(*(np.asarray(a)[None] for a in arrays)), aim)
        sample = engine.advance(30, aim, np.ones(1, bool))
        dt = float(np.float32(0.5 * units.fs))
        force = atoms.get_forces()
        for _ in range(30):
            momenta = momenta + 0.5 * dt * force
            atoms.positions += dt * momenta / masses
            force = atoms.get_forces()
            momenta = momenta + 0.5 * dt * force
        expected = atoms.get_potential_energy() - potential.reference_energy(
            atoms.numbers
        )
        np.testing.assert_allclose(sample.positions[0], atoms.positions, atol=1e-8)
        np.testing.assert_allclose(sample.potential[0], expected, atol=1e-8)
        assert engine.compilations == 1


def test_light_does_not_see_a_crystal_that_moves_as_a_whole(settings, tmp_path):
    """The sum of Born charges is zero: only the atom that moves alone shows."""
    atoms, interval = crystal(), 4.0
    potential = potential_of(settings, "mace", "celli")
    times = interval * np.arange(300) / 33356.409519815204
    velocities = np.zeros((300, 4, 3))
    velocities[..., 1] = np.cos(2 * np.pi * 1500 * times)[:, None]
    velocities[:, 3, 0] += np.cos(2 * np.pi * 600 * times)
    recording = Recording(tmp_path, atoms, origin=np.zeros(3))
    for now in velocities:
        recording.motion(atoms.positions, now * atoms.get_masses()[:, None])
    charged = bb.Calculator(potential, total_charge=0.0)
    rest = bb.Structure.from_ase(atoms, total_charge=0.0)
    told = spectra(tmp_path, rest, interval, charged)["infrared"]
    waves, intensity = np.array(told["waves"]), np.array(told["intensity"])
    np.testing.assert_allclose(waves[intensity.argmax()], 600, atol=30)
    assert intensity[waves > 1000].sum() < 1e-6 * intensity.sum()


def test_prechecks_know_right_from_wrong():
    """Springs pass; a force that is no slope, and one that pushes the whole, do not."""
    atoms = molecule()

    def springs(atoms, wrong=0.0, push=0.0):
        apart = atoms.positions[:, None] - atoms.positions
        energy = 0.25 * np.sum(apart**2)
        forces = -apart.sum(1) * (1 + wrong) + push
        return energy, forces

    good = force_checks(springs, atoms)
    assert all(check.passed for check in good) and good[0].value < 1e-6
    steep = force_checks(lambda a: springs(a, wrong=0.1), atoms)
    assert not steep[0].passed and steep[1].passed
    pushed = force_checks(lambda a: springs(a, push=0.2), atoms)
    assert not pushed[1].passed


def test_dimers_are_those_of_the_calculator(settings):
    potential = potential_of(settings)
    found = scan_dimers(potential, np.array([6, 6, 1, 1, 1]))
    assert found.pairs == [(1, 1), (1, 6), (6, 6)]
    calculator = bb.Calculator(potential, total_charge=0.0)
    for pair, point in ((0, 0), (1, 5), (2, -1)):
        r = found.distances[pair, point]
        atoms = ase.Atoms(
            found.pairs[pair], [[0, 0, 0], [r, 0, 0]], calculator=calculator
        )
        energy = atoms.get_potential_energy() - potential.reference_energy(
            atoms.numbers
        )
        np.testing.assert_allclose(found.energies[pair, point], energy, atol=1e-5)
        force = atoms.get_forces()[1, 0]
        np.testing.assert_allclose(found.forces[pair, point], force, atol=1e-5)
    cutoff, _ = dimer_checks(found)
    assert cutoff.passed
    jump = found.forces.copy()
    jump[1, -2:] += 0.01
    assert not dimer_checks(found._replace(forces=jump))[0].passed
    inner = found.forces.copy()
    inner[:, 0] = [1.0, 1.0, -1.0]
    attracting = dimer_checks(found._replace(forces=inner))[1]
    assert not attracting.passed and "C-C" in attracting.detail
