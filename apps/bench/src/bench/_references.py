"""Energies and charges of elements, and how far one gets with them alone."""

from collections.abc import Sequence

import numpy as np

from ._dataset import Sample


def compositions(samples: Sequence[Sample], elements: Sequence[int]) -> np.ndarray:
    """Number of atoms of each element, `(samples, elements)`."""
    return np.array(
        [[np.sum(s.structure.numbers == z) for z in elements] for s in samples], float
    )


def fit_references(samples: Sequence[Sample]) -> dict[int, float]:
    """Least-squares energy of each element (eV); of samples of the training part only.

    The smallest solution where compositions do not determine it.
    """
    elements = sorted({int(z) for s in samples for z in s.structure.numbers})
    counts = compositions(samples, elements)
    energies = np.array([s.energy for s in samples])
    # Per atom, so that large structures do not rule the fit.
    atoms = counts.sum(1)
    solution, *_ = np.linalg.lstsq(
        counts / atoms[:, None], energies / atoms, rcond=1e-10
    )
    return dict(zip(elements, solution.tolist(), strict=True))


def composition_energy(sample: Sample, references: dict[int, float]) -> float:
    """Energy of a sample by its composition alone, eV."""
    return float(sum(references[int(z)] for z in sample.structure.numbers))


def mean_charges(samples: Sequence[Sample]) -> dict[int, float]:
    """Mean charge of each element (e) over the samples that have charges."""
    labelled = [s for s in samples if s.charges is not None]
    if not labelled:
        return {}
    numbers = np.concatenate([s.structure.numbers for s in labelled])
    charges = np.concatenate([s.charges for s in labelled if s.charges is not None])
    return {int(z): float(charges[numbers == z].mean()) for z in np.unique(numbers)}
