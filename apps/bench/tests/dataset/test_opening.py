import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from bench.dataset.opening import BUNDLED, load_for_training
from bench.dataset.per_element import element_counts, fit_atomic_energies
from bench.exceptions import BenchError


def test_own_file_is_read_whole(own_file, springs):
    data = load_for_training(str(own_file))
    assert data.name == "own"
    assert data.ids == [f"s{i:03d}" for i in range(24)]
    assert len(set(data.groups)) == 12
    want = springs(3)
    np.testing.assert_allclose(data.samples[3].forces, want.get_forces(), atol=1e-7)
    np.testing.assert_allclose(data.samples[3].energy, want.get_potential_energy())


def test_order_of_the_file_is_irrelevant(tmp_path, springs, own_file):
    turned = tmp_path / "own2.extxyz"
    ase.io.write(turned, [springs(i) for i in range(24)][::-1], format="extxyz")
    assert (
        load_for_training(str(turned)).digest == load_for_training(str(own_file)).digest
    )


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets_are_as_promised(name):
    data = load_for_training(name)
    periodic = name == "frameworks"
    assert len(data) >= (400 if periodic else 1000)
    assert len(set(data.groups)) >= (80 if periodic else 250)
    low, high = (30, 110) if periodic else (5, 40)
    for s in data.samples:
        assert low <= len(s.structure) <= high
        assert (s.structure.cell is not None) == periodic
        assert s.forces is not None and s.charges is not None
        # Labels belong to an isolated or periodic system: no net force, right charge.
        assert np.abs(s.forces.sum(0)).max() < 5e-3
        assert abs(s.charges.sum() - s.structure.total_charge) < 2e-3
        if s.structure.cell is not None:
            heights = 1 / np.linalg.norm(np.linalg.inv(s.structure.cell), axis=0)
            assert heights.min() >= 11.0
            assert s.stress is not None
    if not periodic:
        assert {-2, -1, 0, 1, 2} <= {s.structure.total_charge for s in data.samples}


def test_references_recover_a_sum_over_elements(own_file):
    samples = load_for_training(str(own_file)).samples
    assert element_counts(samples[:1], [1, 6, 8]).tolist() == [[2, 2, 1]]
    # One composition only: the least solution, its sum is what counts.
    found = fit_atomic_energies(samples)
    mean = np.mean([s.energy for s in samples])
    assert abs(2 * found[1] + 2 * found[6] + found[8] - mean) < 1e-6


def write(path, *frames):
    ase.io.write(path, frames, format="extxyz")
    return str(path)


def test_unusable_files_are_refused_in_one_sentence(tmp_path, springs):
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
    bare = write(tmp_path / "bare.extxyz", ase.Atoms("H2", [[0, 0, 0], [0, 0, 1]]))
    with pytest.raises(BenchError, match="No structure of .* has an energy"):
        load_for_training(bare)
    some = springs(1)
    some.calc = SinglePointCalculator(some, charges=np.zeros(5))
    with pytest.raises(BenchError, match="'s001' has no energy, as 1 of 2 structures"):
        load_for_training(write(tmp_path / "some.extxyz", springs(0), some))
    twice = write(tmp_path / "twice.extxyz", springs(1), springs(1))
    with pytest.raises(BenchError, match="uses the id 's001' twice"):
        load_for_training(twice)
    both = write(tmp_path / "both.extxyz", springs(1), springs(2, periodic=True))
    with pytest.raises(BenchError, match="mixes open and periodic"):
        load_for_training(both)
    slab = springs(2, periodic=True)
    slab.pbc = [True, True, False]
    with pytest.raises(BenchError, match="Frame 0 .* mix open and periodic"):
        load_for_training(write(tmp_path / "slab.extxyz", slab))


def test_values_that_are_not_finite_are_refused(tmp_path, springs):
    bad = springs(1)
    forces = bad.get_forces()
    forces[2, 1] = np.nan
    bad.calc = SinglePointCalculator(bad, energy=1.0, forces=forces)
    with pytest.raises(BenchError, match="Frame 1 of .*: forces is not finite"):
        load_for_training(write(tmp_path / "nan.extxyz", springs(0), bad))
    lost = springs(1)
    lost.positions[0, 0] = np.nan
    with pytest.raises(BenchError, match="position of atom 0 is not finite"):
        load_for_training(write(tmp_path / "lost.extxyz", lost))


def test_labels_of_some_frames_only_are_absent_elsewhere(tmp_path, springs):
    bare = springs(1)
    bare.calc = SinglePointCalculator(bare, energy=1.0)
    data = load_for_training(write(tmp_path / "some.extxyz", springs(0), bare))
    first, second = data.samples
    np.testing.assert_allclose(first.forces, springs(0).get_forces(), atol=1e-6)
    assert first.charges is not None
    assert second.forces is None and second.charges is None and second.stress is None
    assert data.columns.has("forces").tolist() == [True, False]
    # Whoever reads the column itself finds no zeros either.
    assert np.isnan(data.columns.values("forces", 1)).all()


def test_samples_are_a_sequence(own_file):
    samples = load_for_training(str(own_file)).samples
    assert len(samples) == 24 and len(samples[:5]) == 5
    assert [s.id for s in samples[2:8:3]] == ["s002", "s005"]
    assert samples[-1].id == "s023" == list(samples)[-1].id
    with pytest.raises(IndexError):
        samples[24]
