"""Rest before motion: where it is known, what ends the way there, a second call."""

import ase
import ase.build
import ase.io
import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from bench.dynamics.study.relaxation import relaxed

TELL = lambda *news: None


def test_a_crystal_comes_back_to_its_lattice(tmp_path):
    perfect = ase.build.bulk("Cu", "fcc", a=3.6, cubic=True).repeat((2, 1, 1))
    shaken = perfect.copy()
    shaken.positions += np.random.default_rng(0).normal(scale=0.05, size=(8, 3))
    news = []
    found = relaxed(shaken, EMT(), 500, tmp_path, lambda *n: news.append(n))
    outcome = found.outcome
    assert found.intact and outcome["largest_force"] < 0.05 and news
    moved = found.atoms.positions - perfect.positions
    np.testing.assert_allclose(moved - moved.mean(0), 0.0, atol=0.02)
    np.testing.assert_allclose(found.atoms.cell.array, perfect.cell.array)
    # The energy that was lost and the way that was gone, counted by hand.
    before, after = shaken.copy(), found.atoms.copy()
    before.calc = after.calc = EMT()
    lost = after.get_potential_energy() - before.get_potential_energy()
    np.testing.assert_allclose(outcome["energy_meV_atom"], 125 * lost, atol=1e-3)
    assert lost < 0
    way = found.atoms.positions - shaken.positions
    farthest = np.linalg.norm(way - way.mean(0), axis=1).max()
    np.testing.assert_allclose(outcome["moved"], farthest, atol=1e-6)
    assert np.all(shaken.positions != found.atoms.positions), "the input is not moved"


def test_a_bond_that_has_no_rest_nearby_ends_it(tmp_path):
    pair = ase.Atoms("C2", [[0, 0, 0], [1.5, 0, 0]])
    far = MorsePotential(epsilon=2.0, r0=2.2, rho0=3.0)
    found = relaxed(pair, far, 500, tmp_path, TELL)
    assert not found.intact and found.outcome["cause"] == "bond_stretch"
    assert "C0 and C1" in found.outcome["detail"]
    assert 0 < found.outcome["steps"] < 500


def test_few_steps_leave_forces_and_no_failure(tmp_path):
    pair = ase.Atoms("C2", [[0, 0, 0], [1.5, 0, 0]])
    near = MorsePotential(epsilon=2.0, r0=1.8, rho0=3.0)
    found = relaxed(pair, near, 2, tmp_path, TELL)
    assert found.intact and found.outcome["steps"] == 2
    assert found.outcome["largest_force"] > 0.05


def test_a_second_call_reads_what_the_first_wrote(tmp_path):
    pair = ase.Atoms("C2", [[0, 0, 0], [1.5, 0, 0]])
    near = MorsePotential(epsilon=2.0, r0=1.6, rho0=3.0)
    first = relaxed(pair, near, 100, tmp_path, TELL)
    again = relaxed(pair, None, 100, tmp_path, TELL)
    assert np.array_equal(first.atoms.positions, again.atoms.positions)
    assert first.outcome == again.outcome
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "relaxation.json",
        "relaxed.extxyz",
    ]
    # Without the word that it is finished, it is made again.
    (tmp_path / "relaxation.json").unlink()
    assert relaxed(pair, near, 100, tmp_path, TELL).outcome == first.outcome


class Failing(Calculator):
    """A model whose numbers are not finite."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, *_, **__):
        raise CalculationFailed("not finite")


def test_a_model_without_numbers_is_reported_as_such(tmp_path):
    atoms = ase.Atoms("C2", [[0, 0, 0], [1.5, 0, 0]])
    rest = relaxed(atoms, Failing(), 5, tmp_path, TELL)
    assert not rest.intact and rest.outcome["cause"] == "nan"
