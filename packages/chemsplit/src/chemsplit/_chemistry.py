"""Reduced formulas and element labels of structures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def reduced_formulas(numbers: Sequence[ArrayLike]) -> list[str]:
    """Return the reduced formula of each structure, in Hill order.

    Parameters
    ----------
    numbers : sequence of array-like of int
        Atomic numbers of each structure.

    Returns
    -------
    list of str
        Such as ``"CH4"``; the same for a cell and its supercell.

    Examples
    --------
    >>> reduced_formulas([[8, 1, 1], [1, 1, 1, 1, 8, 8], [11, 17]])
    ['H2O', 'H2O', 'ClNa']
    """
    from ase.formula import Formula

    formulas = []
    for atomic_numbers in numbers:
        elements, counts = np.unique(np.asarray(atomic_numbers), return_counts=True)
        counts = counts // np.gcd.reduce(counts)
        count_of = dict(zip(symbols(elements), counts.tolist(), strict=True))
        formulas.append(Formula.from_dict(count_of).format("hill"))
    return formulas


def symbols(elements: ArrayLike) -> list[str]:
    """Return the chemical symbols of atomic numbers."""
    from ase.data import chemical_symbols

    return [chemical_symbols[z] for z in np.asarray(elements).tolist()]


def element_labels(numbers: Sequence[ArrayLike], *, n_named: int = 7) -> np.ndarray:
    """Label each structure with its heaviest element, such as the metal of a MOF.

    Parameters
    ----------
    numbers : sequence of array-like of int
        Atomic numbers of each structure.
    n_named : int, default=7
        Number of elements with a separate label, the most frequent ones;
        structures with another heaviest element are labeled "other".

    Returns
    -------
    ndarray of str
        Labels for `plot_map`.

    Examples
    --------
    >>> element_labels([[8, 1, 1], [30, 8], [30, 6, 1]], n_named=1).tolist()
    ['other', 'Zn', 'Zn']
    """
    heaviest = np.array(
        [np.asarray(atomic_numbers).max() for atomic_numbers in numbers]
    )
    elements, counts = np.unique(heaviest, return_counts=True)
    frequent = elements[np.argsort(-counts, kind="stable")[:n_named]]
    names = np.array(symbols(heaviest), dtype=object)
    return np.where(np.isin(heaviest, frequent), names, "other").astype(str)
