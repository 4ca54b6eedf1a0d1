"""Atomic energies fitted to the training set, and mean charges per element."""

from collections.abc import Mapping, Sequence

import numpy as np

from bench.dataset.composition import ELEMENTS
from bench.dataset.opening import Dataset, Sample


def element_counts(samples: Sequence[Sample], elements: Sequence[int]) -> np.ndarray:
    """Returns the number of atoms of each element, `(samples, elements)`.

    Args:
        samples: structures.
        elements: atomic numbers.
    """
    count = lambda s: np.bincount(s.structure.numbers, minlength=ELEMENTS)[elements]
    return np.array([count(s) for s in samples], float)


def atomic_energies_for(data: Dataset, members: np.ndarray) -> dict[int, float]:
    """Returns the atomic energies of the dataset, or fitted ones if it has none.

    Args:
        data: labeled structures.
        members: indices of the training set, to which they are fitted.

    Returns:
        eV by atomic number, for the elements of the training set.
    """
    samples = [data.samples[int(i)] for i in members]
    stored = data.atomic_energies
    if stored is None:
        return fit_atomic_energies(samples)
    return {z: stored[z] for z in _elements(samples)}


def fit_atomic_energies(samples: Sequence[Sample]) -> dict[int, float]:
    """Fits the energies of the elements to the total energies by least squares.

    Args:
        samples: structures of the training set.

    Returns:
        eV by atomic number: the minimum-norm solution if the compositions do not
        determine the energies; zeros without energies.
    """
    elements = _elements(samples)
    labeled = [s for s in samples if s.energy is not None]
    if not labeled:
        return dict.fromkeys(elements, 0.0)
    counts = element_counts(labeled, elements)
    energies = np.array([s.energy for s in labeled])
    # Per atom, so that large structures do not dominate the fit.
    atoms = counts.sum(1)
    solution, *_ = np.linalg.lstsq(
        counts / atoms[:, None], energies / atoms, rcond=1e-10
    )
    return dict(zip(elements, solution.tolist(), strict=True))


def _elements(samples: Sequence[Sample]) -> list[int]:
    return sorted({int(z) for s in samples for z in np.unique(s.structure.numbers)})


def composition_energy(sample: Sample, atomic_energies: Mapping[int, float]) -> float:
    """Returns the sum of the atomic energies of a sample, eV.

    Args:
        sample: structure.
        atomic_energies: eV by atomic number.
    """
    return float(sum(atomic_energies[int(z)] for z in sample.structure.numbers))


def mean_charges(samples: Sequence[Sample]) -> dict[int, float]:
    """Returns the mean charge of each element over the samples that have charges.

    Args:
        samples: structures.

    Returns:
        e by atomic number; empty without charges.
    """
    labeled = [s for s in samples if s.charges is not None]
    if not labeled:
        return {}
    numbers = np.concatenate([s.structure.numbers for s in labeled])
    charges = np.concatenate([s.charges for s in labeled if s.charges is not None])
    return {int(z): float(charges[numbers == z].mean()) for z in np.unique(numbers)}
