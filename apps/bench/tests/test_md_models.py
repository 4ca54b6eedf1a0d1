"""Models: the engine against the calculator."""

import ase.build
import backbones as bb
import jax
import numpy as np
import pytest
from ase import units
from bench._config import Run
from bench._dynamics._engine import Engine
from bench._dynamics._ensembles import NVE, Moving, Targets
from bench._dynamics._interaction import interaction
from bench._model import build_potential

ELEMENTS = {1: -13.0, 6: -40.0, 8: -70.0}


def potential_of(settings, backbone, long_range):
    run = Run("none", "random", backbone, long_range, 0)
    return build_potential(settings, run, ELEMENTS, average_neighbours=6.0, scale=0.3)


@pytest.fixture
def settings(small_grid):
    return small_grid.model


def crystal(seed=0):
    """Small, triclinic, with images of every atom within the cutoff."""
    rng = np.random.default_rng(seed)
    atoms = ase.build.bulk("C", "diamond", a=3.7).repeat((2, 1, 1))
    atoms.numbers = [6, 8, 6, 1]
    atoms.positions += rng.normal(scale=0.05, size=(4, 3))
    return atoms


CASES = {
    "mace, all layers, crystal": ("mace", "celli+les", crystal),
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
