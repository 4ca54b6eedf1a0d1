"""Opening of datasets: user files, bundled data, checks and error messages."""

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from bench.dataset.opening import BUNDLED, load_for_training
from bench.dataset.per_element import fit_atomic_energies
from bench.exceptions import BenchError


def test_a_user_file_is_read(structure_file, toy_structure):
    data = load_for_training(str(structure_file))
    assert data.name == "own"
    assert data.ids == [f"s{i:03d}" for i in range(24)]
    assert len(set(data.groups)) == 12
    expected = toy_structure(3)
    np.testing.assert_allclose(data.samples[3].forces, expected.get_forces(), atol=1e-7)
    np.testing.assert_allclose(data.samples[3].energy, expected.get_potential_energy())


def test_the_order_of_the_file_is_irrelevant(tmp_path, toy_structure, structure_file):
    reversed_file = tmp_path / "own2.extxyz"
    ase.io.write(
        reversed_file, [toy_structure(i) for i in range(24)][::-1], format="extxyz"
    )
    assert (
        load_for_training(str(reversed_file)).digest
        == load_for_training(str(structure_file)).digest
    )


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_datasets(name):
    data = load_for_training(name)
    periodic = name == "frameworks"
    assert len(data) >= (400 if periodic else 1000)
    assert len(set(data.groups)) >= (80 if periodic else 250)
    low, high = (30, 110) if periodic else (5, 40)
    for s in data.samples:
        assert low <= len(s.structure) <= high
        assert (s.structure.cell is not None) == periodic
        assert s.forces is not None and s.charges is not None
        # No net force, and charges that sum to the total charge.
        assert np.abs(s.forces.sum(0)).max() < 5e-3
        assert abs(s.charges.sum() - s.structure.total_charge) < 2e-3
        if s.structure.cell is not None:
            heights = 1 / np.linalg.norm(np.linalg.inv(s.structure.cell), axis=0)
            assert heights.min() >= 11.0
            assert s.stress is not None
    if not periodic:
        assert {-2, -1, 0, 1, 2} <= {s.structure.total_charge for s in data.samples}


def test_fitted_atomic_energies_sum_to_the_mean_energy(structure_file):
    data = load_for_training(str(structure_file))
    assert data.element_counts[[0]][:, [1, 6, 8]].toarray().tolist() == [[2, 2, 1]]
    # All structures have one composition, which determines only the sum.
    energies = fit_atomic_energies(data)
    mean = np.mean([s.energy for s in data.samples])
    assert abs(2 * energies[1] + 2 * energies[6] + energies[8] - mean) < 1e-6


def write(path, *frames):
    ase.io.write(path, frames, format="extxyz")
    return str(path)


def test_unusable_files_are_one_line_errors(tmp_path, toy_structure):
    with pytest.raises(BenchError, match="no data set 'nowhere.xyz'"):
        load_for_training("nowhere.xyz")
    empty = tmp_path / "empty.extxyz"
    empty.touch()
    with pytest.raises(BenchError, match="is empty"):
        load_for_training(str(empty))
    garbage = tmp_path / "garbage.extxyz"
    garbage.write_text("these are\nnot structures\n")
    with pytest.raises(BenchError, match="cannot be read as extxyz"):
        load_for_training(str(garbage))
    unlabeled = write(
        tmp_path / "unlabeled.extxyz", ase.Atoms("H2", [[0, 0, 0], [0, 0, 1]])
    )
    with pytest.raises(BenchError, match="No structure of .* has a label to train on"):
        load_for_training(unlabeled)
    no_energy = toy_structure(1)
    no_energy.calc = SinglePointCalculator(no_energy, charges=np.zeros(5))
    with pytest.raises(BenchError, match="'s001' has no energy, as 1 of 2 structures"):
        load_for_training(write(tmp_path / "some.extxyz", toy_structure(0), no_energy))
    repeated = write(tmp_path / "repeated.extxyz", toy_structure(1), toy_structure(1))
    with pytest.raises(BenchError, match="uses the id 's001' twice"):
        load_for_training(repeated)
    mixed = write(
        tmp_path / "mixed.extxyz", toy_structure(1), toy_structure(2, periodic=True)
    )
    with pytest.raises(BenchError, match="mixes open and periodic"):
        load_for_training(mixed)
    slab = toy_structure(2, periodic=True)
    slab.pbc = [True, True, False]
    with pytest.raises(BenchError, match="Frame 0 .* mix open and periodic"):
        load_for_training(write(tmp_path / "slab.extxyz", slab))


def test_values_that_are_not_finite_are_rejected(tmp_path, toy_structure):
    invalid = toy_structure(1)
    forces = invalid.get_forces()
    forces[2, 1] = np.nan
    invalid.calc = SinglePointCalculator(invalid, energy=1.0, forces=forces)
    with pytest.raises(BenchError, match="Frame 1 of .*: forces is not finite"):
        load_for_training(write(tmp_path / "nan.extxyz", toy_structure(0), invalid))
    invalid = toy_structure(1)
    invalid.positions[0, 0] = np.nan
    with pytest.raises(BenchError, match="position of atom 0 is not finite"):
        load_for_training(write(tmp_path / "position.extxyz", invalid))


def test_missing_labels_of_single_frames_are_none(tmp_path, toy_structure):
    energy_only = toy_structure(1)
    energy_only.calc = SinglePointCalculator(energy_only, energy=1.0)
    data = load_for_training(
        write(tmp_path / "some.extxyz", toy_structure(0), energy_only)
    )
    first, second = data.samples
    np.testing.assert_allclose(first.forces, toy_structure(0).get_forces(), atol=1e-6)
    assert first.charges is not None
    assert second.forces is None and second.charges is None and second.stress is None
    assert data.columns.has("forces").tolist() == [True, False]
    # The column contains NaN, not zeros.
    assert np.isnan(data.columns.values("forces", 1)).all()


def test_samples_are_a_sequence(structure_file):
    samples = load_for_training(str(structure_file)).samples
    assert len(samples) == 24 and len(samples[:5]) == 5
    assert [s.id for s in samples[2:8:3]] == ["s002", "s005"]
    assert samples[-1].id == "s023" == list(samples)[-1].id
    with pytest.raises(IndexError):
        samples[24]
