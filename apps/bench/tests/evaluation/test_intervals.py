"""Grouped errors, confidence intervals and error breakdowns."""

import ase
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from bench.evaluation.breakdown import by_charge, by_element, by_similarity, by_size
from bench.evaluation.intervals import (
    GroupedErrors,
    difference,
    group_errors,
    mean_error,
)
from bench.report.tables import comparison_table
from bench.settings.grid import Run


def frame(index, group, error, numbers=(1, 8)):
    atoms = ase.Atoms(numbers, np.arange(3 * len(numbers)).reshape(-1, 3))
    forces = np.full((len(numbers), 3), 0.001 * error)
    energy = 0.001 * error * len(numbers)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    atoms.info = {"group": group, "label_energy": 0.0, "index": index}
    atoms.info |= {"total_charge": float(index % 2)}
    atoms.arrays["label_forces"] = np.zeros((len(numbers), 3))
    atoms.arrays["model_charges"] = np.zeros(len(numbers))
    return atoms


def test_grouped_errors_are_sums_over_the_frames_of_a_group():
    errors = group_errors(
        [frame(0, "b", 1), frame(1, "a", 3), frame(2, "b", 2)], "energy"
    )
    assert errors.names.tolist() == ["a", "b"]
    np.testing.assert_allclose(errors.sums, [3, 3])
    assert errors.counts.tolist() == [1, 2]
    assert errors.mean == pytest.approx(2)
    forces = group_errors([frame(0, "b", 1), frame(1, "b", 3)], "force")
    assert forces.mean == pytest.approx(2)
    assert group_errors([frame(0, "b", 1)], "charge") is None


def test_intervals_have_the_nominal_coverage():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        x = rng.exponential(size=60)
        interval = mean_error(GroupedErrors(np.arange(60), x, np.ones(60)))
        assert interval.value == pytest.approx(x.mean())
        hits += interval.low < 1 < interval.high
    # Binomial(200, 0.95) is below 176 with probability 0.001; skew lowers coverage.
    assert 176 <= hits <= 199


def test_paired_differences_cancel_the_difficulty_of_groups():
    rng = np.random.default_rng(1)
    difficulty = rng.exponential(10, size=80)
    names, ones = np.arange(80), np.ones(80)
    base = GroupedErrors(names, difficulty + 1, ones)
    better = GroupedErrors(names, difficulty + 0.7 + 0.1 * rng.normal(size=80), ones)
    interval = difference(better, base)
    assert interval.sign == -1
    assert interval.high - interval.low < 0.1
    assert difference(base, better).sign == 1
    noisy = GroupedErrors(names, difficulty + 1 + rng.normal(size=80), ones)
    assert abs(difference(noisy, base).value) < 0.4
    with pytest.raises(ValueError, match="different structures"):
        difference(base, GroupedErrors(names + 1, difficulty, ones))


def test_one_group_has_no_interval():
    interval = mean_error(
        GroupedErrors(np.array(["a"]), np.array([3.0]), np.array([2]))
    )
    assert interval.value == 1.5
    assert np.isnan(interval.low)
    assert interval.sign == 0


def test_verdicts_need_an_interval_that_excludes_zero():
    runs = [Run("x", "random", "mace", r, s) for r in ("none", "les") for s in (0, 1)]
    rng = np.random.default_rng(2)
    difficulty = rng.exponential(10, size=30)
    frames = {
        run.name: [
            frame(i, f"g{i}", e + (2 if run.long_range == "none" else 1))
            for i, e in enumerate(difficulty)
        ]
        for run in runs
    }
    table = comparison_table(runs, frames)
    (row,) = table.rows
    assert row[:3] == ["random", "mace+les", "mace"]
    assert row[3:6] == ["-1.00", "-1.00 to -1.00", "better"]
    assert comparison_table(runs[:2], frames).rows == []


def test_breakdowns_are_means_over_bins():
    frames = [frame(i, "a", i + 1, numbers=(1,) * (i + 1)) for i in range(4)]
    assert by_charge(frames) == [("+0", pytest.approx(2)), ("+1", pytest.approx(3))]
    expected = [(f"{n}–{n}", pytest.approx(n)) for n in (1, 2, 3, 4)]
    assert by_size(frames) == expected
    similarity = {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}
    assert [v for _, v in by_similarity(frames, similarity)] == pytest.approx(
        [1, 2, 3, 4]
    )
    mixed = [frame(0, "a", 1, (1, 8)), frame(1, "a", 3, (8, 8))]
    assert by_element(mixed, "force") == [
        ("H", pytest.approx(1)),
        ("O", pytest.approx(7 / 3)),
    ]
    assert by_element(mixed, "charge") == []
    equal_sizes = [frame(i, "a", 2) for i in range(3)]
    assert by_size(equal_sizes) == [("2–2", pytest.approx(2))]
