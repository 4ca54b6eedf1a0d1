"""Composition fits, outliers and floors, against direct least squares."""

import dataclasses

import numpy as np
import pytest
from bench.dataset.columns import columns_from_rows
from bench.dataset.composition import baseline_floors, count_elements, fit_composition
from bench.dataset.opening import load_for_training
from bench.dataset.per_element import fit_atomic_energies, mean_charges
from bench.evaluation.errors import floor_of
from bench.sources import Row


def random_rows(count, seed=0, energies=None):
    """Structures of H, C, O and U with sums of atomic energies and a little noise."""
    rng = np.random.default_rng(seed)
    energies = energies or {1: -13.6, 6: -1036.1, 8: -2043.2, 92: -9.5}
    rows = []
    for i in range(count):
        numbers = rng.choice(list(energies), size=rng.integers(2, 30))
        energy = sum(energies[z] for z in numbers) + 0.01 * len(numbers) * rng.normal()
        positions = rng.normal(size=(len(numbers), 3))
        rows.append(
            Row(f"{i:04d}", f"{i}", numbers, positions, labels={"energy": energy})
        )
    return rows


def test_energies_of_elements_are_recovered():
    columns = columns_from_rows(random_rows(400))
    fit = fit_composition(count_elements(columns), columns.arrays["energy"])
    assert fit.elements.tolist() == [1, 6, 8, 92]
    np.testing.assert_allclose(
        fit.energies[fit.elements], [-13.6, -1036.1, -2043.2, -9.5], atol=0.03
    )
    rmse = np.sqrt(np.mean(fit.residuals**2))
    assert 0.008 < rmse < 0.011
    assert len(fit.outliers) == 0


def test_fit_and_floors_equal_those_of_training():
    data = load_for_training("frameworks")
    fit = fit_composition(count_elements(data.columns), data.columns.arrays["energy"])
    atomic_energies = fit_atomic_energies(data)
    # Only the sums are compared: the compositions do not determine all energies.
    direct = np.zeros(119)
    direct[list(atomic_energies)] = list(atomic_energies.values())
    counts = count_elements(data.columns)
    np.testing.assert_allclose(counts @ fit.energies, counts @ direct, atol=1e-5)
    expected = floor_of(data.samples, atomic_energies, mean_charges(data))
    floors = baseline_floors(data.columns, fit)
    np.testing.assert_allclose(
        [1000 * x for x in floors],
        [expected["energy_mae"], expected["force_mae"], expected["charge_mae"]],
        rtol=1e-5,
    )


def test_energies_of_another_level_are_outliers():
    rows = random_rows(300)
    other = [r.with_labels(energy=r.energy / 27.2114) for r in random_rows(8, seed=5)]
    other = [dataclasses.replace(r, id=f"other-{r.id}") for r in other]
    columns = columns_from_rows(rows[:100] + other + rows[100:])
    fit = fit_composition(count_elements(columns), columns.arrays["energy"])
    assert sorted(fit.outliers) == list(range(100, 108))


def test_structures_without_labels_do_not_count():
    rows = random_rows(50)
    unlabeled = [
        dataclasses.replace(r, labels={}, id="b" + r.id)
        for r in random_rows(20, seed=3)
    ]
    columns, labeled = columns_from_rows(rows + unlabeled), columns_from_rows(rows)
    fit = fit_composition(count_elements(columns), columns.arrays["energy"])
    expected = fit_composition(count_elements(labeled), labeled.arrays["energy"])
    np.testing.assert_allclose(fit.energies, expected.energies)
    assert np.isnan(fit.residuals[50:]).all()
    floors = baseline_floors(columns, fit)
    assert floors.energy == pytest.approx(baseline_floors(labeled, expected).energy)
    assert np.isnan([floors.forces, floors.charges]).all()


def test_counts_do_not_depend_on_blocks(monkeypatch):
    columns = columns_from_rows(random_rows(30))
    counts = count_elements(columns).toarray()
    numbers = [r.numbers for r in random_rows(30)]
    np.testing.assert_array_equal(
        counts, [np.bincount(n, minlength=119) for n in numbers]
    )
    monkeypatch.setattr("bench.dataset.composition.BLOCK", 7)
    np.testing.assert_array_equal(count_elements(columns).toarray(), counts)
