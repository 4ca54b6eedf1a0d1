"""Calculators that are made from a path, written and copied."""

import copy
import json
import pickle

import ase
import ase.db
import ase.io
import backbones as bb
import pytest

TINY = bb.MACESize(
    channels=2,
    hidden_degree=0,
    l_max=1,
    correlation=1,
    num_bessel=3,
    radial_mlp=(4,),
    readout_width=2,
)


def water_with(calculator):
    water = ase.Atoms("OH2", [[0, 0, 0], [0.9, 0.3, 0], [-0.9, 0.3, 0]])
    water.calc = calculator
    return water


def test_a_path_takes_the_place_of_the_potential(mace, tmp_path):
    """A file or the folder of a run; the arguments are written to a database."""
    folder = tmp_path / "random-mace-seed0"
    folder.mkdir()
    bb.save(folder / "model.npz", mace(TINY))
    expected = water_with(
        bb.Calculator(mace(TINY), total_charge=0.0)
    ).get_potential_energy()
    for path in (folder, str(folder / "model.npz")):
        calculator = bb.Calculator(path, total_charge=0.0)
        water = water_with(calculator)
        assert water.get_potential_energy() == expected
        assert calculator.name == str(path)
        arguments = json.loads(json.dumps(calculator.todict()))
        assert arguments == {"potential": str(path), "total_charge": 0.0, "spin": 0}
        equal = bb.Calculator(**arguments)
        assert water_with(equal).get_potential_energy() == expected
    ase.io.write(tmp_path / "water.json", water, format="json")
    row = ase.db.connect(tmp_path / "water.json").get(1)
    assert row.calculator == str(path).lower() and row.energy == expected
    assert row.calculator_parameters["potential"] == str(path)
    calculator.set(total_charge=1.0)
    assert calculator.todict()["total_charge"] == 1.0
    with pytest.raises(ValueError, match="'potential' is not a parameter"):
        calculator.set(potential="other.npz")
    with pytest.raises(FileNotFoundError, match="expected a file written by `save`"):
        bb.Calculator(tmp_path / "nowhere", total_charge=0.0)
    assert bb.Calculator(mace(TINY), total_charge=0.0).name == "MACE"


def test_copies_have_the_potential(with_layer_at_every_hook, tmp_path):
    """Without the file from which it was loaded, and after a calculation."""
    path = tmp_path / "model.npz"
    bb.save(path, with_layer_at_every_hook(bb.MACE))
    calculator = bb.Calculator(path, total_charge=1.0)
    expected = water_with(calculator).get_potential_energy()
    path.unlink()
    for other in (
        copy.deepcopy(calculator),
        pickle.loads(pickle.dumps(calculator)),
    ):
        assert other.name == str(path) and other.results["energy"] == expected
        other.reset()
        assert water_with(other).get_potential_energy() == expected
