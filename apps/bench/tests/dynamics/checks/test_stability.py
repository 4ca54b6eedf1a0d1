"""Every failure cause is detected, and thermal fluctuations are none."""

import ase
import ase.build
import numpy as np
import pytest
from bench.dynamics.checks.drift import energy_drift
from bench.dynamics.checks.stability import CAUSES, Observation, StabilityMonitor


@pytest.fixture
def water():
    return ase.Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


def observe(atoms, **changes):
    box = atoms.cell.array if atoms.pbc.all() else None
    values = {"potential": -1.0, "temperature": 300.0, "target": 300.0} | changes
    return Observation(atoms.positions, box, **values)


def unstable(water, cause):
    """An observation with this failure cause and none that is checked before it."""
    atoms, changes = water.copy(), {}
    if cause == "nan":
        changes["potential"] = float("nan")
    elif cause == "temperature":
        changes["temperature"] = 30_000.0
    elif cause == "energy_jump":
        changes["potential"] = -5.0
    elif cause == "volume":
        atoms.set_cell(1.04 * atoms.cell.array, scale_atoms=False)
    elif cause == "close_contact":
        atoms.positions[1] = [0.4, 0, 0]
    elif cause == "fragment":
        atoms.positions[1] += [5.0, 0, 0]
    elif cause == "bond_stretch":
        atoms.positions[1] += [0.52, 0, 0]
    return observe(atoms, **changes)


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_is_detected(water, cause):
    if cause == "volume":
        water.set_cell(np.eye(3) * 12)
        water.pbc = True
    monitor = StabilityMonitor(water, 6)
    assert monitor.bonds == 2
    failure = monitor.failure(unstable(water, cause), -1.0)
    assert failure is not None and failure.cause == cause and failure.detail
    assert monitor.failure(observe(water), -1.0) is None


def test_atoms_beyond_the_skin_in_one_step_are_a_temperature_failure(water):
    failure = StabilityMonitor(water, 6).failure(observe(water, too_fast=True), None)
    assert failure is not None and failure.cause == "temperature"


def test_canonical_fluctuations_are_no_failure(water):
    """Kinetic temperatures of six degrees of freedom, drawn many times."""
    rng = np.random.default_rng(0)
    temperatures = 300 * rng.chisquare(6, 100_000) / 6
    monitor = StabilityMonitor(water, 6)
    highest = observe(water, temperature=float(temperatures.max()))
    assert monitor.failure(highest, -1.0) is None


def test_bonds_to_periodic_images_in_a_small_cell_are_checked():
    """Each atom of diamond's primitive cell has four bonds, all of them to images."""
    atoms = ase.build.bulk("C", "diamond", a=3.57)
    monitor = StabilityMonitor(atoms, 3)
    assert monitor.bonds == 4
    stretched = atoms.copy()
    stretched.positions[1] += 0.33  # three bonds become longer, the fourth shorter
    failure = monitor.failure(observe(stretched), None)
    assert failure is not None and failure.cause == "bond_stretch"


def test_drift_is_the_slope_in_meV_per_atom_and_ps():
    times = np.linspace(0, 2, 500)
    kinetic = 5 + 0.1 * np.sin(40 * times)
    linear = energy_drift(times, -100 + 0.003 * times, kinetic, 10)
    np.testing.assert_allclose(linear.rate, 0.3, rtol=1e-9)
    np.testing.assert_allclose(
        linear.change_over_kinetic_std, 0.006 / kinetic.std(), rtol=1e-9
    )
    # A vibration over complete periods has no slope.
    periodic = energy_drift(times, np.cos(2 * np.pi * times), kinetic, 10)
    assert abs(periodic.rate) < 1.0
