import ase
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from bench.evaluation.breakdown import by_charge, by_element, by_similarity, by_size
from bench.evaluation.intervals import GroupedErrors, difference, mean_error, totals
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


def test_totals_are_sums_over_frames_of_a_group():
    found = totals([frame(0, "b", 1), frame(1, "a", 3), frame(2, "b", 2)], "energy")
    assert found.names.tolist() == ["a", "b"]
    np.testing.assert_allclose(found.sums, [3, 3])
    assert found.counts.tolist() == [1, 2]
    assert found.mean == pytest.approx(2)
    forces = totals([frame(0, "b", 1), frame(1, "b", 3)], "force")
    assert forces.mean == pytest.approx(2)
    assert totals([frame(0, "b", 1)], "charge") is None


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        x = rng.exponential(size=60)
        found = mean_error(GroupedErrors(np.arange(60), x, np.ones(60)))
        assert found.value == pytest.approx(x.mean())
        hits += found.low < 1 < found.high
    # Binomial(200, 0.95) is below 176 once in a thousand times; skew costs a little.
    assert 176 <= hits <= 199


def test_pairs_cancel_what_all_models_find_hard():
    rng = np.random.default_rng(1)
    hard = rng.exponential(10, size=80)
    names, ones = np.arange(80), np.ones(80)
    base = GroupedErrors(names, hard + 1, ones)
    better = GroupedErrors(names, hard + 0.7 + 0.1 * rng.normal(size=80), ones)
    found = difference(better, base)
    assert found.sign == -1
    assert found.high - found.low < 0.1
    assert difference(base, better).sign == 1
    unclear = GroupedErrors(names, hard + 1 + rng.normal(size=80), ones)
    assert abs(difference(unclear, base).value) < 0.4
    with pytest.raises(ValueError, match="different structures"):
        difference(base, GroupedErrors(names + 1, hard, ones))


def test_one_group_has_no_interval():
    found = mean_error(GroupedErrors(np.array(["a"]), np.array([3.0]), np.array([2])))
    assert found.value == 1.5
    assert np.isnan(found.low)
    assert found.sign == 0


def test_verdicts_need_an_interval_that_excludes_zero():
    runs = [Run("x", "random", "mace", r, s) for r in ("none", "les") for s in (0, 1)]
    rng = np.random.default_rng(2)
    hard = rng.exponential(10, size=30)
    frames = {
        run.name: [
            frame(i, f"g{i}", e + (2 if run.long_range == "none" else 1))
            for i, e in enumerate(hard)
        ]
        for run in runs
    }
    table = comparison_table(runs, frames)
    (row,) = table.rows
    assert row[:3] == ["random", "mace+les", "mace"]
    assert row[3:6] == ["-1.00", "-1.00 to -1.00", "better"]
    assert comparison_table(runs[:2], frames).rows == []


def test_breakdowns_are_means_of_their_kinds():
    frames = [frame(i, "a", i + 1, numbers=(1,) * (i + 1)) for i in range(4)]
    assert by_charge(frames) == [("+0", pytest.approx(2)), ("+1", pytest.approx(3))]
    one_each = [(f"{n}–{n}", pytest.approx(n)) for n in (1, 2, 3, 4)]
    assert by_size(frames) == one_each
    near = {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}
    assert [v for _, v in by_similarity(frames, near)] == pytest.approx([1, 2, 3, 4])
    mixed = [frame(0, "a", 1, (1, 8)), frame(1, "a", 3, (8, 8))]
    assert by_element(mixed, "force") == [
        ("H", pytest.approx(1)),
        ("O", pytest.approx(7 / 3)),
    ]
    assert by_element(mixed, "charge") == []
    same = [frame(i, "a", 2) for i in range(3)]
    assert by_size(same) == [("2–2", pytest.approx(2))]
