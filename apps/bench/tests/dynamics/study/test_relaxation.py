"""Relaxation: known minima, failures, reading an earlier relaxation."""

import ase
import ase.build
import ase.io
import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from bench.dynamics.study.relaxation import relax

CALLBACK = lambda *progress: None


def test_a_displaced_crystal_returns_to_its_lattice(tmp_path):
    perfect = ase.build.bulk("Cu", "fcc", a=3.6, cubic=True).repeat((2, 1, 1))
    displaced = perfect.copy()
    displaced.positions += np.random.default_rng(0).normal(scale=0.05, size=(8, 3))
    progress = []
    callback = lambda *arguments: progress.append(arguments)
    relaxation = relax(displaced, EMT(), 500, tmp_path, callback)
    result = relaxation.result
    assert relaxation.passed and result["max_force_eV_A"] < 0.05 and progress
    deviation = relaxation.atoms.positions - perfect.positions
    np.testing.assert_allclose(deviation - deviation.mean(0), 0.0, atol=0.02)
    np.testing.assert_allclose(relaxation.atoms.cell.array, perfect.cell.array)
    # Energy change and displacement, computed independently.
    before, after = displaced.copy(), relaxation.atoms.copy()
    before.calc = after.calc = EMT()
    change = after.get_potential_energy() - before.get_potential_energy()
    np.testing.assert_allclose(
        result["energy_change_meV_atom"], 125 * change, atol=1e-3
    )
    assert change < 0
    displacements = relaxation.atoms.positions - displaced.positions
    relative = displacements - displacements.mean(0)
    largest = np.linalg.norm(relative, axis=1).max()
    np.testing.assert_allclose(result["max_displacement_A"], largest, atol=1e-6)
    assert np.all(displaced.positions != relaxation.atoms.positions), "input modified"


def test_a_stretched_bond_stops_the_relaxation(tmp_path):
    pair = ase.Atoms("C2", [[0, 0, 0], [1.5, 0, 0]])
    far = MorsePotential(epsilon=2.0, r0=2.2, rho0=3.0)
    relaxation = relax(pair, far, 500, tmp_path, CALLBACK)
    assert not relaxation.passed and relaxation.result["cause"] == "bond_stretch"
    assert "C0 and C1" in relaxation.result["detail"]
    assert 0 < relaxation.result["steps"] < 500


def test_too_few_steps_are_no_failure(tmp_path):
    pair = ase.Atoms("C2", [[0, 0, 0], [1.5, 0, 0]])
    near = MorsePotential(epsilon=2.0, r0=1.8, rho0=3.0)
    relaxation = relax(pair, near, 2, tmp_path, CALLBACK)
    assert relaxation.passed and relaxation.result["steps"] == 2
    assert relaxation.result["max_force_eV_A"] > 0.05


def test_a_second_call_reads_the_files_of_the_first(tmp_path):
    pair = ase.Atoms("C2", [[0, 0, 0], [1.5, 0, 0]])
    near = MorsePotential(epsilon=2.0, r0=1.6, rho0=3.0)
    first = relax(pair, near, 100, tmp_path, CALLBACK)
    second = relax(pair, None, 100, tmp_path, CALLBACK)
    assert np.array_equal(first.atoms.positions, second.atoms.positions)
    assert first.result == second.result
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "relaxation.json",
        "relaxed.extxyz",
    ]
    # Without `relaxation.json` the structure is relaxed again.
    (tmp_path / "relaxation.json").unlink()
    assert relax(pair, near, 100, tmp_path, CALLBACK).result == first.result


class NonFinite(Calculator):
    """A calculator whose energy is not finite."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, *_, **__):
        raise CalculationFailed("not finite")


def test_a_non_finite_energy_is_the_failure_cause_nan(tmp_path):
    atoms = ase.Atoms("C2", [[0, 0, 0], [1.5, 0, 0]])
    relaxation = relax(atoms, NonFinite(), 5, tmp_path, CALLBACK)
    assert not relaxation.passed and relaxation.result["cause"] == "nan"
