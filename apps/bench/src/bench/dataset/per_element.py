"""Energies and charges of elements, and how far one gets with them alone."""

from collections.abc import Sequence

import numpy as np

from bench.dataset.composition import ELEMENTS
from bench.dataset.opening import Dataset, Sample

ATOMS = "atoms"
"""Instead of a file: the energies of isolated atoms that are in the source."""


def compositions(samples: Sequence[Sample], elements: Sequence[int]) -> np.ndarray:
    """Number of atoms of each element, `(samples, elements)`."""
    count = lambda s: np.bincount(s.structure.numbers, minlength=ELEMENTS)[elements]
    return np.array([count(s) for s in samples], float)


def atomic_energies_for(data: Dataset, members: np.ndarray) -> dict[int, float]:
    """Reference energies (eV): those the set was prepared with, or else fitted.

    Args:
        data: labelled.
        members: indices of the training part, which alone is fitted.
    """
    samples = [data.samples[int(i)] for i in members]
    given = data.atomic_energies
    if given is None:
        return fit_atomic_energies(samples)
    return {z: given[z] for z in _elements(samples)}


def fit_atomic_energies(samples: Sequence[Sample]) -> dict[int, float]:
    """Least-squares energy of each element (eV); of samples of the training part only.

    The smallest solution where compositions do not determine it; zero where there are
    no energies.
    """
    elements = _elements(samples)
    labelled = [s for s in samples if s.energy is not None]
    if not labelled:
        return dict.fromkeys(elements, 0.0)
    counts = compositions(labelled, elements)
    energies = np.array([s.energy for s in labelled])
    # Per atom, so that large structures do not rule the fit.
    atoms = counts.sum(1)
    solution, *_ = np.linalg.lstsq(
        counts / atoms[:, None], energies / atoms, rcond=1e-10
    )
    return dict(zip(elements, solution.tolist(), strict=True))


def _elements(samples: Sequence[Sample]) -> list[int]:
    return sorted({int(z) for s in samples for z in np.unique(s.structure.numbers)})


def composition_energy(sample: Sample, atomic_energies: dict[int, float]) -> float:
    """Energy of a sample by its composition alone, eV."""
    return float(sum(atomic_energies[int(z)] for z in sample.structure.numbers))


def mean_charges(samples: Sequence[Sample]) -> dict[int, float]:
    """Mean charge of each element (e) over the samples that have charges."""
    labelled = [s for s in samples if s.charges is not None]
    if not labelled:
        return {}
    numbers = np.concatenate([s.structure.numbers for s in labelled])
    charges = np.concatenate([s.charges for s in labelled if s.charges is not None])
    return {int(z): float(charges[numbers == z].mean()) for z in np.unique(numbers)}
