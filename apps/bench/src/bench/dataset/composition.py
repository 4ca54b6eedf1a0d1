"""Composition fit: per-element energies by least squares, and statistics of labels."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse

from bench.dataset.columns import Columns
from bench.labels import LABELS_BY_KIND, Label

BLOCK = 4096
"""Structures per block, which bounds the memory."""

ELEMENTS = 119
"""One more than the largest atomic number."""

OUTLIER_DEVIATIONS = 8.0
"""Residual of an outlier, in robust standard deviations."""

ITERATIONS = 8
"""Iterations of reweighting in the robust fit."""

MIN_OUTLIER = 0.05
"""Smallest residual of an outlier, eV per atom."""


class Fit(NamedTuple):
    """Energies of the elements by least squares, and their residuals.

    Args:
        energies: eV, by atomic number, `(119,)`; zero for elements that do not occur.
        elements: atomic numbers that occur.
        residuals: eV per atom, `(structures,)`; NaN for structures without an energy.
        outliers: indices of structures with large residuals, the largest first.
    """

    energies: np.ndarray
    elements: np.ndarray
    residuals: np.ndarray
    outliers: np.ndarray


def count_elements(columns: Columns) -> sparse.csr_array:
    """Returns the number of atoms of each element, `(structures, 119)`.

    Args:
        columns: structures.
    """
    blocks = []
    for rows, atoms in iterate_blocks(columns):
        owner = np.repeat(np.arange(len(rows)), columns.sizes[rows])
        numbers = np.asarray(columns.arrays["numbers"][atoms])
        table = np.bincount(owner * ELEMENTS + numbers, minlength=len(rows) * ELEMENTS)
        blocks.append(sparse.csr_array(table.reshape(-1, ELEMENTS)))
    if not blocks:
        return sparse.csr_array((0, ELEMENTS), dtype=np.int64)
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))


def iterate_blocks(columns: Columns) -> Iterator[tuple[np.ndarray, slice]]:
    """Yields the indices of the structures of a block and the slice of their atoms.

    Args:
        columns: structures.
    """
    ends = np.asarray(columns.arrays["end_atom"])
    for start in range(0, len(ends), BLOCK):
        stop = min(start + BLOCK, len(ends))
        first = int(ends[start - 1]) if start else 0
        yield np.arange(start, stop), slice(first, int(ends[stop - 1]))


def fit_composition(counts: sparse.csr_array, energies: np.ndarray) -> Fit:
    """Fits the energy per atom to the fractions of the elements by least squares.

    Outliers, such as energies of another level of theory, are found with an iteratively
    reweighted fit, which they hardly influence. The returned energies and residuals are
    those of the unweighted fit to all structures.

    Args:
        counts: result of `count_elements`.
        energies: eV, `(structures,)`; NaN for structures without an energy.
    """
    labeled = np.isfinite(energies)
    elements = np.flatnonzero(counts.sum(0))
    sizes = np.maximum(counts.sum(1), 1)
    fractions = sparse.csr_array(counts[labeled][:, elements] / sizes[labeled, None])
    target = energies[labeled] / sizes[labeled]
    solution = _least_squares(fractions, target, np.ones(len(target)))
    residuals = np.full(len(energies), np.nan)
    residuals[labeled] = target - fractions @ solution
    element_energies = np.zeros(ELEMENTS)
    element_energies[elements] = solution
    robust = np.full(len(energies), 0.0)
    robust[labeled] = np.abs(_robust_residuals(fractions, target, solution))
    # 1.4826 times the median absolute residual estimates the standard deviation.
    deviation = 1.4826 * np.median(robust[labeled]) if labeled.any() else 0.0
    limit = max(OUTLIER_DEVIATIONS * deviation, MIN_OUTLIER)
    outliers = np.flatnonzero(robust > limit)
    outliers = outliers[np.argsort(-robust[outliers])]
    return Fit(element_energies, elements, residuals, outliers)


def _robust_residuals(fractions, target, start) -> np.ndarray:
    """Returns the residuals of an iteratively reweighted fit (Cauchy weights)."""
    residuals = target - fractions @ start
    for _ in range(ITERATIONS):
        deviation = (
            1.4826 * np.median(np.abs(residuals - np.median(residuals)))
            if len(residuals)
            else 0
        )
        weights = 1 / (1 + (residuals / max(3 * deviation, 1e-12)) ** 2)
        residuals = target - fractions @ _least_squares(fractions, target, weights)
    return residuals


def _least_squares(fractions, target, weights) -> np.ndarray:
    """Returns the minimum-norm solution of a weighted least-squares problem.

    Iterative refinement restores the digits that the normal equations lose, as they
    square the condition number.
    """
    # `multiply` returns a COO array, whose product with a vector is 0-d for one column.
    weighted = sparse.csr_array(fractions.multiply(weights[:, None]))
    inverse = np.linalg.pinv(
        (fractions.T @ weighted).toarray(), rcond=1e-13, hermitian=True
    )
    solution = np.zeros(fractions.shape[1])
    for _ in range(3):
        solution = solution + inverse @ (weighted.T @ (target - fractions @ solution))
    return solution


class Floors(NamedTuple):
    """Mean absolute errors of baselines without a model; NaN without labels."""

    energy: float
    """Composition fit, eV per atom."""
    forces: float
    """Zero forces, eV/Å, per component."""
    charges: float
    """Mean charge of the element, e."""


class Magnitude(NamedTuple):
    """Size of a label over all structures, in its unit; NaN without labels."""

    rms: float
    """Root mean square of the components."""
    largest: float
    """Largest norm of a vector, else largest absolute component."""


class LabelDistribution(NamedTuple):
    """Distribution of the labels over all structures; NaN without labels."""

    energy: tuple[float, float, float]
    """Smallest, median and largest, eV per atom."""
    magnitudes: dict[str, Magnitude]
    """Of the other labels that predictions are compared with, by name."""


def label_distribution(columns: Columns) -> LabelDistribution:
    """Returns how labels are distributed over all structures.

    Args:
        columns: structures.
    """
    energies = np.asarray(columns.arrays["energy"]) / columns.sizes
    energies = energies[np.isfinite(energies)]
    low, median, high = (
        np.quantile(energies, (0, 0.5, 1)) if len(energies) else (np.nan,) * 3
    )
    energy = (float(low), float(median), float(high))
    magnitudes = {
        label.name: _magnitude(columns, label)
        for label in LABELS_BY_KIND.values()
        if label.name in columns.arrays and not label.is_extensive
    }
    return LabelDistribution(energy, magnitudes)


def _magnitude(columns: Columns, label: Label) -> Magnitude:
    total, count, largest = 0.0, 0, 0.0
    for rows, atoms in iterate_blocks(columns):
        part = columns.arrays[label.name][atoms if label.per_atom else rows]
        squares = np.asarray(part, float).reshape(len(part), -1) ** 2
        squares = squares[np.isfinite(squares).all(1)]
        total, count = total + squares.sum(), count + squares.size
        sizes = squares.sum(1) if label.shape == (3,) else squares
        largest = max(largest, sizes.max(initial=0.0))
    if not count:
        return Magnitude(np.nan, np.nan)
    return Magnitude(float(np.sqrt(total / count)), float(np.sqrt(largest)))


def baseline_floors(columns: Columns, fit: Fit) -> Floors:
    """Returns the errors of the composition-only baselines over all structures.

    Args:
        columns: structures.
        fit: composition fit of the same structures.
    """
    residuals = fit.residuals[np.isfinite(fit.residuals)]
    energy = float(np.mean(np.abs(residuals))) if len(residuals) else np.nan
    return Floors(energy, _force_floor(columns), _charge_floor(columns))


def _force_floor(columns: Columns) -> float:
    if "forces" not in columns.arrays:
        return np.nan
    total = count = 0
    for _, atoms in iterate_blocks(columns):
        forces = np.asarray(columns.arrays["forces"][atoms], float)
        total += np.nansum(np.abs(forces))
        count += np.isfinite(forces).sum()
    return float(total / count)


def _charge_floor(columns: Columns) -> float:
    if "charges" not in columns.arrays:
        return np.nan
    sums, counts = np.zeros(ELEMENTS), np.zeros(ELEMENTS)
    blocks = lambda: (
        _labeled_charges(columns, atoms) for _, atoms in iterate_blocks(columns)
    )
    for numbers, charges in blocks():
        sums += np.bincount(numbers, charges, ELEMENTS)
        counts += np.bincount(numbers, minlength=ELEMENTS)
    means = sums / np.maximum(counts, 1)
    errors = sum(
        np.abs(charges - means[numbers]).sum() for numbers, charges in blocks()
    )
    return float(errors / counts.sum())


def _labeled_charges(columns: Columns, atoms: slice) -> tuple[np.ndarray, np.ndarray]:
    """Returns atomic numbers and charges of the atoms that have a charge."""
    charges = np.asarray(columns.arrays["charges"][atoms], float)
    labeled = np.isfinite(charges)
    return np.asarray(columns.arrays["numbers"][atoms])[labeled], charges[labeled]
