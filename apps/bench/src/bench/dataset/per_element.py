"""Atomic energies fitted to the training set, and mean charges per element."""

from collections.abc import Iterator, Mapping

import numpy as np

from bench.dataset.composition import BLOCK
from bench.dataset.opening import Dataset, Sample


def elements_of(data: Dataset, members: np.ndarray | None = None) -> list[int]:
    """Returns the atomic numbers that occur, ascending.

    Args:
        data: structures.
        members: indices of samples; None for all.
    """
    counts = data.element_counts
    counts = counts if members is None else counts[members]
    return np.flatnonzero(counts.sum(0)).tolist()


def atomic_energies_for(data: Dataset, members: np.ndarray) -> dict[int, float]:
    """Returns the atomic energies of the dataset, or fitted ones if it has none.

    Args:
        data: labeled structures.
        members: indices of the training set, to which they are fitted.

    Returns:
        eV by atomic number, for the elements of the training set.
    """
    stored = data.atomic_energies
    if stored is None:
        return fit_atomic_energies(data, members)
    return {z: stored[z] for z in elements_of(data, members)}


def fit_atomic_energies(
    data: Dataset, members: np.ndarray | None = None
) -> dict[int, float]:
    """Fits the energies of the elements to the total energies by least squares.

    Args:
        data: labeled structures.
        members: indices of the training set; None for all samples.

    Returns:
        eV by atomic number: the minimum-norm solution if the compositions do not
        determine the energies; zeros without energies.
    """
    members = np.arange(len(data)) if members is None else members
    elements = elements_of(data, members)
    labeled = members[data.has("energy")[members]]
    if not len(labeled):
        return dict.fromkeys(elements, 0.0)
    counts = data.element_counts[labeled][:, elements].toarray().astype(float)
    energies = np.asarray(data.columns.arrays["energy"])[data.order[labeled]]
    # Per atom, so that large structures do not dominate the fit.
    atoms = counts.sum(1)
    solution, *_ = np.linalg.lstsq(
        counts / atoms[:, None], energies / atoms, rcond=1e-10
    )
    return dict(zip(elements, solution.tolist(), strict=True))


def composition_energy(sample: Sample, atomic_energies: Mapping[int, float]) -> float:
    """Returns the sum of the atomic energies of a sample, eV.

    Args:
        sample: structure.
        atomic_energies: eV by atomic number.
    """
    return float(sum(atomic_energies[int(z)] for z in sample.structure.numbers))


def mean_charges(data: Dataset, members: np.ndarray | None = None) -> dict[int, float]:
    """Returns the mean charge of each element over the samples that have charges.

    Args:
        data: labeled structures.
        members: indices of samples; None for all.

    Returns:
        e by atomic number; empty without charges.
    """
    charges_by_element: dict[int, list[np.ndarray]] = {}
    for numbers, charges in _atom_blocks(data, members, "charges"):
        for z in np.unique(numbers):
            charges_by_element.setdefault(int(z), []).append(charges[numbers == z])
    return {
        z: float(np.concatenate(charges).mean())
        for z, charges in sorted(charges_by_element.items())
    }


def force_scale(data: Dataset, members: np.ndarray) -> float:
    """Returns the root mean square force times 1 Å, eV; 1 if there are no forces.

    Args:
        data: labeled structures.
        members: indices of the training set.
    """
    labeled = members[data.has("forces")[members]]
    if not len(labeled):
        return 1.0
    rows = data.order[labeled]
    ends = 3 * np.cumsum(data.sizes[labeled])
    forces = data.columns.arrays["forces"]

    def squares(start: int, stop: int) -> np.ndarray:
        """Squares of the components [start, stop) of all forces, in float64."""
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(ends, stop, side="left")) + 1
        atoms = data.columns.entries("atom", rows[first:last])
        offset = int(ends[first - 1]) if first else 0
        return (
            forces[atoms].astype(np.float64).ravel()[start - offset :][: stop - start]
            ** 2
        )

    total = int(ends[-1])
    return float((_pairwise_sum(squares, 0, total) / total) ** 0.5)


_PIECE = 1 << 20
"""Numbers that are summed at once."""


def _pairwise_sum(values, start: int, stop: int) -> np.float64:
    """Returns the sum of values [start, stop), divided as `np.sum` divides an array.

    It is the same to the last bit, in the memory of one piece.
    """
    count = stop - start
    if count <= _PIECE:
        return np.sum(values(start, stop))
    middle = start + count // 2 - count // 2 % 8
    return _pairwise_sum(values, start, middle) + _pairwise_sum(values, middle, stop)


def _atom_blocks(
    data: Dataset, members: np.ndarray | None, label: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields atomic numbers and a label in float64 of the samples that have it."""
    members = np.arange(len(data)) if members is None else members
    labeled = members[data.has(label)[members]]
    for start in range(0, len(labeled), BLOCK):
        rows = data.order[labeled[start : start + BLOCK]]
        atoms = data.columns.entries("atom", rows)
        yield (
            data.columns.arrays["numbers"][atoms],
            data.columns.arrays[label][atoms].astype(np.float64),
        )
