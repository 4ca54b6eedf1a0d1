"""Every way in which a simulation can end is caught and named."""

import ase
import ase.build
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import Calculator
from bench.dynamics.checks.causes import CAUSES, Look, Watch
from bench.dynamics.checks.drift import drift
from bench.dynamics.study.observables import (
    charges_along,
    infrared,
    infrared_of_dipoles,
    overlap_error,
    radial_distribution,
    vibrations,
)


@pytest.fixture
def water():
    return ase.Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


def look(atoms, **changes):
    box = atoms.cell.array if atoms.pbc.all() else None
    values = {"potential": -1.0, "temperature": 300.0, "target": 300.0} | changes
    return Look(atoms.positions, box, **values)


def broken(water, cause):
    """A look at water that has this one cause and none looked for before it."""
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
    return look(atoms, **changes)


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_is_named(water, cause):
    if cause == "volume":
        water.set_cell(np.eye(3) * 12)
        water.pbc = True
    watch = Watch(water, 6)
    assert watch.bonds == 2
    found = watch.failure(broken(water, cause), -1.0)
    assert found is not None and found.cause == cause and found.detail
    assert watch.failure(look(water), -1.0) is None


def test_atoms_that_outrun_their_lists_are_hot(water):
    found = Watch(water, 6).failure(look(water, stuck=True), None)
    assert found is not None and found.cause == "temperature"


def test_natural_fluctuations_are_no_failure(water):
    """Canonical draws: kinetic energies of six degrees of freedom, many looks."""
    rng = np.random.default_rng(0)
    kelvin = 300 * rng.chisquare(6, 100_000) / 6
    watch = Watch(water, 6)
    hottest = look(water, temperature=float(kelvin.max()))
    assert watch.failure(hottest, -1.0) is None


def test_bonds_across_a_small_cell_are_followed():
    """Each atom of diamond's primitive cell has four bonds, all of them to images."""
    atoms = ase.build.bulk("C", "diamond", a=3.57)
    watch = Watch(atoms, 3)
    assert watch.bonds == 4
    stretched = atoms.copy()
    stretched.positions[1] += 0.33  # three bonds are longer, the fourth shorter
    found = watch.failure(look(stretched), None)
    assert found is not None and found.cause == "bond_stretch"


def test_drift_is_the_slope_in_its_units():
    times = np.linspace(0, 2, 500)
    kinetic = 5 + 0.1 * np.sin(40 * times)
    found = drift(times, -100 + 0.003 * times, kinetic, 10)
    np.testing.assert_allclose(found.rate, 0.3, rtol=1e-9)
    np.testing.assert_allclose(found.ratio, 0.006 / kinetic.std(), rtol=1e-9)
    # A vibration of whole periods has no slope.
    still = drift(times, np.cos(2 * np.pi * times), kinetic, 10)
    assert abs(still.rate) < 1.0


def test_a_crystal_has_neighbours_where_its_shells_are():
    """The integral of rho g(r) over a shell counts the neighbours in it."""
    atoms = ase.build.bulk("Cu", "fcc", a=3.6)
    found = radial_distribution([atoms, atoms], reach=4.0, bins=400)
    width = found.centres[1] - found.centres[0]
    shells = 4 * np.pi * found.centres**2 * found.values * width / (3.6**3 / 4)
    first = shells[np.abs(found.centres - 3.6 / np.sqrt(2)) < 0.1].sum()
    second = shells[np.abs(found.centres - 3.6) < 0.1].sum()
    np.testing.assert_allclose([first, second], [12, 6], rtol=1e-12)
    assert overlap_error(found, found) == 0.0
    wide = radial_distribution(
        [ase.build.bulk("Cu", "fcc", a=3.8)], reach=4.0, bins=400
    )
    assert overlap_error(found, wide) == 1.0


def test_pairs_of_molecules_are_a_density():
    found = radial_distribution([ase.build.molecule("CH4")], reach=4.0, bins=40)
    assert np.isclose(found.values.sum() * (found.centres[1] - found.centres[0]), 1.0)


def test_a_vibration_is_found_at_its_wave_number():
    waves, interval = 1000.0, 4.0
    times = interval * np.arange(1000)
    turns = times * waves * units._c * 1e-13
    velocities = np.cos(2 * np.pi * turns)[:, None, None] * np.ones((1, 2, 3))
    at, density = vibrations(velocities, np.array([1.0, 16.0]), interval)
    assert abs(at[np.argmax(density)] - waves) < at[1]
    np.testing.assert_allclose(density.sum() * at[1], 1.0)


def test_a_dipole_absorbs_where_it_oscillates_by_the_square_of_its_rate():
    """Two modes of equal dipole: intensities go as the squares of their frequencies."""
    interval, times = 2.0, 2.0 * np.arange(2000)
    waves = np.array([1000.0, 3000.0])
    phases = 2 * np.pi * waves[:, None] * times / 33356.409519815204
    dipoles = np.stack([np.cos(phases[0]), np.cos(phases[1]), 0 * times + 5.0], 1)
    found, intensity = infrared_of_dipoles(dipoles, interval)
    low, high = found < 2000, found > 2000
    peaks = [found[low][intensity[low].argmax()], found[high][intensity[high].argmax()]]
    np.testing.assert_allclose(peaks, waves, atol=10)
    assert abs(intensity[high].sum() / intensity[low].sum() - 9) < 0.1
    np.testing.assert_allclose(intensity.sum() * found[1], 1)


def test_light_sees_what_moves_charges():
    """Of two modes of equal masses the one in which opposite charges move apart."""
    interval, born = 1.0, np.array([np.eye(3), -np.eye(3)])
    times = interval * np.arange(2000)
    active, silent = (
        np.cos(2 * np.pi * wave * times / 33356.409519815204) for wave in (400, 900)
    )
    velocities = np.zeros((2000, 2, 3))
    velocities[:, 0, 0], velocities[:, 1, 0] = silent + active, silent - active
    found, intensity = infrared(np.einsum("iab,tib->ta", born, velocities), interval)
    np.testing.assert_allclose(found[intensity.argmax()], 400, atol=10)
    assert intensity[found > 650].sum() < 1e-6 * intensity.sum()
    waves, density = vibrations(velocities, np.ones(2), interval)
    assert density[waves > 650].sum() > 0.4 * density.sum()


class Rising(Calculator):
    """Charges that grow with the first atom's place; their sum does, too."""

    implemented_properties = ["charges"]

    def calculate(self, atoms, properties, changes):
        super().calculate(atoms, properties, changes)
        self.results = {"charges": np.array([-0.8, 0.4, 0.4]) + atoms.positions[0, 0]}


def test_charges_are_followed(water):
    frames = [water.copy() for _ in range(4)]
    for i, atoms in enumerate(frames):
        atoms.positions[0, 0] = 0.01 * i
    told = charges_along(frames, Rising(), 0.0)
    np.testing.assert_allclose(told["largest_total_error"], 0.09)
    np.testing.assert_allclose(told["total_drift"], 0.09)
    np.testing.assert_allclose(told["mean_change"], 0.02)
    np.testing.assert_allclose((told["least"], told["most"]), (-0.8, 0.43))
