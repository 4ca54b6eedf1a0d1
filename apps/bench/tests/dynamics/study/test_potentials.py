"""Trained potentials: engine against calculator, infrared spectra, prechecks."""

import ase
import ase.build
import backbones as bb
import jax
import numpy as np
import pytest
from ase import units
from bench.dynamics.checks.prechecks import check_dimers, check_forces, scan_dimers
from bench.dynamics.engine.engine import Engine
from bench.dynamics.engine.ensembles import NVE, AtomicState, Conditions
from bench.dynamics.engine.interaction import make_interaction
from bench.dynamics.study.spectra import compute_spectra
from bench.dynamics.study.stage_files import StageFiles
from bench.model.building import build_potential
from bench.settings.grid import Run

ELEMENTS = {1: -13.0, 6: -40.0, 8: -70.0}


def potential_of(settings, backbone="mace", long_range="none"):
    run = Run("none", "random", backbone, long_range, 0)
    return build_potential(settings, run, ELEMENTS, avg_num_neighbors=6.0, scale=0.3)


@pytest.fixture
def settings(small_grid):
    small = {"channels": 6, "num_blocks": 2, "int_emb_size": 4, "out_emb_channels": 6}
    dimenet = type(small_grid.model.dimenet)(**small)
    return small_grid.model.model_copy(update={"dimenet": dimenet})


def crystal(seed=0):
    """Small and triclinic; images of every atom are within the cutoff."""
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
def test_the_engine_and_the_calculator_give_the_same_trajectory(case, settings):
    """Thirty steps of velocity Verlet with the model's calculator."""
    backbone, layers, make = CASES[case]
    with jax.enable_x64(True):
        potential, atoms = potential_of(settings, backbone, layers), make()
        charge = 0.0 if atoms.pbc.all() else 1.0
        calculator = bb.Calculator(potential, total_charge=charge)
        atoms.calc = calculator
        cell = atoms.cell.array if atoms.pbc.all() else None
        structure = bb.Structure.from_ase(atoms, total_charge=charge)
        engine = Engine(
            make_interaction(potential, structure), NVE(), cell, timestep=0.5, skin=0.5
        )
        rng = np.random.default_rng(0)
        masses = atoms.get_masses()[:, None]
        momenta = np.sqrt(masses * units.kB * 300) * rng.normal(size=(len(atoms), 3))
        atoms.set_momenta(momenta)
        arrays = atoms.positions, momenta, atoms.get_forces(), masses
        conditions = Conditions(np.array(0.026), np.array(0.0))
        engine.start(AtomicState(*(np.asarray(a)[None] for a in arrays)), conditions)
        snapshot = engine.advance(30, conditions, np.ones(1, bool))
        dt = float(np.float32(0.5 * units.fs))
        force = atoms.get_forces()
        for _ in range(30):
            momenta = momenta + 0.5 * dt * force
            atoms.positions += dt * momenta / masses
            force = atoms.get_forces()
            momenta = momenta + 0.5 * dt * force
        expected = atoms.get_potential_energy() - potential.composition_energy(
            atoms.numbers
        )
        np.testing.assert_allclose(snapshot.positions[0], atoms.positions, atol=1e-8)
        np.testing.assert_allclose(snapshot.potential[0], expected, atol=1e-8)
        assert engine.compilations == 1


def test_a_translation_of_a_crystal_absorbs_no_infrared_light(settings, tmp_path):
    """The sum of Born charges is zero: only the motion of a single atom absorbs."""
    atoms, interval = crystal(), 4.0
    potential = potential_of(settings, "mace", "celli")
    times = interval * np.arange(300) / 33356.409519815204
    velocities = np.zeros((300, 4, 3))
    velocities[..., 1] = np.cos(2 * np.pi * 1500 * times)[:, None]
    velocities[:, 3, 0] += np.cos(2 * np.pi * 600 * times)
    files = StageFiles(tmp_path, atoms, origin=np.zeros(3))
    for velocity in velocities:
        files.write_positions_and_velocities(
            atoms.positions, velocity * atoms.get_masses()[:, None]
        )
    calculator = bb.Calculator(potential, total_charge=0.0)
    relaxed = bb.Structure.from_ase(atoms, total_charge=0.0)
    spectrum = compute_spectra(tmp_path, relaxed, interval, calculator)["infrared"]
    x, intensity = (np.array(spectrum[k]) for k in ("wavenumbers", "intensity"))
    np.testing.assert_allclose(x[intensity.argmax()], 600, atol=30)
    assert intensity[x > 1000].sum() < 1e-6 * intensity.sum()


def test_force_prechecks_detect_wrong_gradients_and_net_forces():
    atoms = molecule()

    def toy_structure(atoms, error=0.0, net_force=0.0):
        vectors = atoms.positions[:, None] - atoms.positions
        energy = 0.25 * np.sum(vectors**2)
        forces = -vectors.sum(1) * (1 + error) + net_force
        return energy, forces

    correct = check_forces(toy_structure, atoms)
    assert all(check.passed for check in correct) and correct[0].value < 1e-6
    steep = check_forces(lambda a: toy_structure(a, error=0.1), atoms)
    assert not steep[0].passed and steep[1].passed
    pushed = check_forces(lambda a: toy_structure(a, net_force=0.2), atoms)
    assert not pushed[1].passed


def test_scanned_dimers_equal_those_of_the_calculator(settings):
    potential = potential_of(settings)
    dimers = scan_dimers(potential, np.array([6, 6, 1, 1, 1]))
    assert dimers.pairs == [(1, 1), (1, 6), (6, 6)]
    calculator = bb.Calculator(potential, total_charge=0.0)
    for pair, point in ((0, 0), (1, 5), (2, -1)):
        r = dimers.distances[pair, point]
        atoms = ase.Atoms(
            dimers.pairs[pair], [[0, 0, 0], [r, 0, 0]], calculator=calculator
        )
        energy = atoms.get_potential_energy() - potential.composition_energy(
            atoms.numbers
        )
        np.testing.assert_allclose(dimers.energies[pair, point], energy, atol=1e-5)
        force = atoms.get_forces()[1, 0]
        np.testing.assert_allclose(dimers.forces[pair, point], force, atol=1e-5)
    cutoff, _ = check_dimers(dimers)
    assert cutoff.passed
    jump = dimers.forces.copy()
    jump[1, -2:] += 0.01
    assert not check_dimers(dimers._replace(forces=jump))[0].passed
    inner = dimers.forces.copy()
    inner[:, 0] = [1.0, 1.0, -1.0]
    attracting = check_dimers(dimers._replace(forces=inner))[1]
    assert not attracting.passed and "C-C" in attracting.detail
