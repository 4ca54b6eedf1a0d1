"""What energies and charges owe to the elements alone, over all structures."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse

from bench.dataset.columns import Columns

BLOCK = 4096
"""Structures at a time, so that memory does not grow with the data."""

ELEMENTS = 119
"""One more than the largest atomic number."""

SUSPICIOUS = 8.0
"""Residuals, in robust standard deviations, from which an energy is an outlier."""

STEPS = 8
"""Of weighing down what is far off."""

LEAST_SUSPICIOUS = 0.05
"""eV an atom: below this no residual is an outlier, however narrow the others lie."""


class Fit(NamedTuple):
    """Energies of elements by least squares, and what they leave.

    Args:
        energies: eV by atomic number; zero where the element does not occur.
        elements: atomic numbers that occur.
        residuals: eV an atom, one a structure; NaN where there is no energy.
        outliers: structures far from the fit, the farthest first.
    """

    energies: np.ndarray
    elements: np.ndarray
    residuals: np.ndarray
    outliers: np.ndarray


def count_elements(columns: Columns) -> sparse.csr_array:
    """Atoms of each element in each structure, `(structures, 119)`.

    Args:
        columns: of structures.
    """
    blocks = []
    for rows, atoms in blocks_of(columns):
        owner = np.repeat(np.arange(len(rows)), columns.sizes[rows])
        numbers = np.asarray(columns.arrays["numbers"][atoms])
        table = np.bincount(owner * ELEMENTS + numbers, minlength=len(rows) * ELEMENTS)
        blocks.append(sparse.csr_array(table.reshape(-1, ELEMENTS)))
    if not blocks:
        return sparse.csr_array((0, ELEMENTS), dtype=np.int64)
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))


def blocks_of(columns: Columns) -> Iterator[tuple[np.ndarray, slice]]:
    """Structures and their atoms, block by block.

    Args:
        columns: of structures.
    """
    ends = np.asarray(columns.arrays["end_atom"])
    for start in range(0, len(ends), BLOCK):
        stop = min(start + BLOCK, len(ends))
        first = int(ends[start - 1]) if start else 0
        yield np.arange(start, stop), slice(first, int(ends[stop - 1]))


def fit_composition(counts: sparse.csr_array, energies: np.ndarray) -> Fit:
    """Least squares of the energy an atom on the shares of elements.

    Structures far off are named; they are weighed down step by step, so that a few of
    another level of theory do not bend the fit that they are judged by. The energies of
    elements are of all structures alike.

    Args:
        counts: as from `count_elements`.
        energies: eV; NaN where there is none.
    """
    known = np.isfinite(energies)
    elements = np.flatnonzero(counts.sum(0))
    sizes = np.maximum(counts.sum(1), 1)
    shares = sparse.csr_array(counts[known][:, elements] / sizes[known, None])
    target = energies[known] / sizes[known]
    plain = _least_squares(shares, target, np.ones(len(target)))
    residuals = np.full(len(energies), np.nan)
    residuals[known] = target - shares @ plain
    values = np.zeros(ELEMENTS)
    values[elements] = plain
    far = np.full(len(energies), 0.0)
    far[known] = np.abs(_robust_residuals(shares, target, plain))
    spread = 1.4826 * np.median(far[known]) if known.any() else 0.0
    limit = max(SUSPICIOUS * spread, LEAST_SUSPICIOUS)
    outliers = np.flatnonzero(far > limit)
    return Fit(values, elements, residuals, outliers[np.argsort(-far[outliers])])


def _robust_residuals(shares, target, start) -> np.ndarray:
    """Residuals of a fit in which those far off weigh little (Cauchy weights)."""
    left = target - shares @ start
    for _ in range(STEPS):
        spread = 1.4826 * np.median(np.abs(left - np.median(left))) if len(left) else 0
        weights = 1 / (1 + (left / max(3 * spread, 1e-12)) ** 2)
        left = target - shares @ _least_squares(shares, target, weights)
    return left


def _least_squares(shares, target, weights) -> np.ndarray:
    """The smallest solution, refined: normal equations square the condition."""
    # Rows again: what `multiply` gives, times a vector, is a number for one column.
    weighted = sparse.csr_array(shares.multiply(weights[:, None]))
    inverse = np.linalg.pinv(
        (shares.T @ weighted).toarray(), rcond=1e-13, hermitian=True
    )
    solution = np.zeros(shares.shape[1])
    for _ in range(3):
        solution = solution + inverse @ (weighted.T @ (target - shares @ solution))
    return solution


class Floors(NamedTuple):
    """Mean absolute errors without any model; NaN where there are no labels."""

    energy: float
    """Composition fit, eV an atom."""
    forces: float
    """Zero force, eV/Å, by component."""
    charges: float
    """The element's mean charge, e."""


class Spread(NamedTuple):
    """How labels are distributed; NaN where there are none."""

    energy: tuple[float, float, float]
    """Smallest, median and largest, eV an atom."""
    force: float
    """Root mean square of components, eV/Å."""
    largest_force: float
    """Norm, eV/Å."""
    stress: float
    """Root mean square of components, eV/Å^3."""
    largest_stress: float
    """Component, eV/Å^3."""


def spread_of(columns: Columns) -> Spread:
    """How energies, forces and stresses are distributed over all structures.

    Args:
        columns: of structures.
    """
    energies = np.asarray(columns.arrays["energy"]) / columns.sizes
    energies = energies[np.isfinite(energies)]
    low, middle, high = (
        np.quantile(energies, (0, 0.5, 1)) if len(energies) else (np.nan,) * 3
    )
    spread = (float(low), float(middle), float(high))
    return Spread(spread, *_size_of_forces(columns), *_size_of_stress(columns))


def _size_of_stress(columns: Columns) -> tuple[float, float]:
    if "stress" not in columns.arrays:
        return np.nan, np.nan
    stress = np.asarray(columns.arrays["stress"])[columns.has("stress")]
    if not len(stress):
        return np.nan, np.nan
    return float(np.sqrt(np.mean(stress**2))), float(np.abs(stress).max())


def _size_of_forces(columns: Columns) -> tuple[float, float]:
    if "forces" not in columns.arrays:
        return np.nan, np.nan
    total, count, largest = 0.0, 0, 0.0
    for _, atoms in blocks_of(columns):
        squares = np.asarray(columns.arrays["forces"][atoms], float) ** 2
        squares = squares[np.isfinite(squares).all(1)]
        total, count = total + squares.sum(), count + squares.size
        largest = max(largest, squares.sum(1).max(initial=0.0))
    return float(np.sqrt(total / count)), float(np.sqrt(largest))


def floors_of(columns: Columns, fit: Fit) -> Floors:
    """How far one gets with the composition alone, over all structures.

    Args:
        columns: of structures.
        fit: of the same structures.
    """
    known = fit.residuals[np.isfinite(fit.residuals)]
    energy = float(np.mean(np.abs(known))) if len(known) else np.nan
    return Floors(energy, _mean_force(columns), _charge_floor(columns))


def _mean_force(columns: Columns) -> float:
    if "forces" not in columns.arrays:
        return np.nan
    total = count = 0
    for _, atoms in blocks_of(columns):
        forces = np.asarray(columns.arrays["forces"][atoms], float)
        total += np.nansum(np.abs(forces))
        count += np.isfinite(forces).sum()
    return float(total / count)


def _charge_floor(columns: Columns) -> float:
    if "charges" not in columns.arrays:
        return np.nan
    totals, counts = np.zeros(ELEMENTS), np.zeros(ELEMENTS)
    pieces = lambda: (_charges(columns, atoms) for _, atoms in blocks_of(columns))
    for numbers, charges in pieces():
        totals += np.bincount(numbers, charges, ELEMENTS)
        counts += np.bincount(numbers, minlength=ELEMENTS)
    means = totals / np.maximum(counts, 1)
    apart = sum(np.abs(charges - means[numbers]).sum() for numbers, charges in pieces())
    return float(apart / counts.sum())


def _charges(columns: Columns, atoms: slice) -> tuple[np.ndarray, np.ndarray]:
    """Elements and charges of the atoms that have a charge."""
    charges = np.asarray(columns.arrays["charges"][atoms], float)
    known = np.isfinite(charges)
    return np.asarray(columns.arrays["numbers"][atoms])[known], charges[known]
