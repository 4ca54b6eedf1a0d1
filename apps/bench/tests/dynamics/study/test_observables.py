"""Radial distributions, spectra and charge statistics of known trajectories."""

import ase
import ase.build
import numpy as np
from ase import units
from ase.calculators.calculator import Calculator
from bench.dynamics.study.observables import (
    charge_statistics,
    infrared_spectrum,
    infrared_spectrum_of_dipoles,
    overlap_error,
    radial_distribution,
    vibrational_spectrum,
)


def test_the_radial_distribution_of_a_crystal_counts_its_neighbor_shells():
    """The integral of rho g(r) over a shell is the number of neighbors in it."""
    atoms = ase.build.bulk("Cu", "fcc", a=3.6)
    distribution = radial_distribution([atoms, atoms], reach=4.0, bins=400)
    width = distribution.centers[1] - distribution.centers[0]
    shells = (
        4 * np.pi * distribution.centers**2 * distribution.values * width / (3.6**3 / 4)
    )
    first = shells[np.abs(distribution.centers - 3.6 / np.sqrt(2)) < 0.1].sum()
    second = shells[np.abs(distribution.centers - 3.6) < 0.1].sum()
    np.testing.assert_allclose([first, second], [12, 6], rtol=1e-12)
    assert overlap_error(distribution, distribution) == 0.0
    wide = radial_distribution(
        [ase.build.bulk("Cu", "fcc", a=3.8)], reach=4.0, bins=400
    )
    assert overlap_error(distribution, wide) == 1.0


def test_the_radial_distribution_of_a_molecule_is_normalized():
    distribution = radial_distribution([ase.build.molecule("CH4")], reach=4.0, bins=40)
    assert np.isclose(
        distribution.values.sum() * (distribution.centers[1] - distribution.centers[0]),
        1.0,
    )


def test_a_vibration_has_a_peak_at_its_wavenumber():
    wavenumber, interval = 1000.0, 4.0
    times = interval * np.arange(1000)
    periods = times * wavenumber * units._c * 1e-13
    velocities = np.cos(2 * np.pi * periods)[:, None, None] * np.ones((1, 2, 3))
    x, density = vibrational_spectrum(velocities, np.array([1.0, 16.0]), interval)
    assert abs(x[np.argmax(density)] - wavenumber) < x[1]
    np.testing.assert_allclose(density.sum() * x[1], 1.0)


def test_infrared_intensities_are_proportional_to_the_squared_frequency():
    """Two modes with dipoles of equal amplitude."""
    interval, times = 2.0, 2.0 * np.arange(2000)
    modes = np.array([1000.0, 3000.0])
    phases = 2 * np.pi * modes[:, None] * times / 33356.409519815204
    dipoles = np.stack([np.cos(phases[0]), np.cos(phases[1]), 0 * times + 5.0], 1)
    x, intensity = infrared_spectrum_of_dipoles(dipoles, interval)
    low, high = x < 2000, x > 2000
    peaks = [x[low][intensity[low].argmax()], x[high][intensity[high].argmax()]]
    np.testing.assert_allclose(peaks, modes, atol=10)
    assert abs(intensity[high].sum() / intensity[low].sum() - 9) < 0.1
    np.testing.assert_allclose(intensity.sum() * x[1], 1)


def test_only_modes_that_move_charges_absorb_infrared_light():
    """Of two modes, only that in which opposite charges move apart is active."""
    interval, born = 1.0, np.array([np.eye(3), -np.eye(3)])
    times = interval * np.arange(2000)
    active, silent = (
        np.cos(2 * np.pi * mode * times / 33356.409519815204) for mode in (400, 900)
    )
    velocities = np.zeros((2000, 2, 3))
    velocities[:, 0, 0], velocities[:, 1, 0] = silent + active, silent - active
    currents = np.einsum("iab,tib->ta", born, velocities)
    x, intensity = infrared_spectrum(currents, interval)
    np.testing.assert_allclose(x[intensity.argmax()], 400, atol=10)
    assert intensity[x > 650].sum() < 1e-6 * intensity.sum()
    x, density = vibrational_spectrum(velocities, np.ones(2), interval)
    assert density[x > 650].sum() > 0.4 * density.sum()


class ShiftedCharges(Calculator):
    """Charges that all increase with the x coordinate of the first atom."""

    implemented_properties = ["charges"]

    def calculate(self, atoms, properties, changes):
        super().calculate(atoms, properties, changes)
        self.results = {"charges": np.array([-0.8, 0.4, 0.4]) + atoms.positions[0, 0]}


def test_charge_statistics():
    water = ase.Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    frames = [water.copy() for _ in range(4)]
    for i, atoms in enumerate(frames):
        atoms.positions[0, 0] = 0.01 * i
    statistics = charge_statistics(frames, ShiftedCharges(), 0.0)
    np.testing.assert_allclose(statistics["max_total_error"], 0.09)
    np.testing.assert_allclose(statistics["total_drift"], 0.09)
    np.testing.assert_allclose(statistics["mean_change_between_halves"], 0.02)
    np.testing.assert_allclose((statistics["min"], statistics["max"]), (-0.8, 0.43))
