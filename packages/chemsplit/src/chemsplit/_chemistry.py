"""What the atoms alone say about a structure: elements, composition, size."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def compositions(numbers: Sequence[ArrayLike]) -> list[str]:
    """Write the reduced formula of each structure, in Hill order.

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
    >>> compositions([[8, 1, 1], [1, 1, 1, 1, 8, 8], [11, 17]])
    ['H2O', 'H2O', 'ClNa']
    """
    from ase.formula import Formula

    written = []
    for one in numbers:
        elements, counts = np.unique(np.asarray(one), return_counts=True)
        counts = counts // np.gcd.reduce(counts)
        parts = dict(zip(symbols(elements), counts.tolist(), strict=True))
        written.append(Formula.from_dict(parts).format("hill"))
    return written


def symbols(elements: ArrayLike) -> list[str]:
    """Name elements by their symbols."""
    from ase.data import chemical_symbols

    return [chemical_symbols[z] for z in np.asarray(elements).tolist()]


def element_labels(numbers: Sequence[ArrayLike], *, n_named: int = 7) -> np.ndarray:
    """Label each structure with its heaviest element, such as the metal of a MOF.

    Parameters
    ----------
    numbers : sequence of array-like of int
        Atomic numbers of each structure.
    n_named : int, default=7
        How many elements keep their names; structures of rarer ones are "other".

    Returns
    -------
    ndarray of str
        Labels for `plot_map`.

    Examples
    --------
    >>> element_labels([[8, 1, 1], [30, 8], [30, 6, 1]], n_named=1).tolist()
    ['other', 'Zn', 'Zn']
    """
    heaviest = np.array([np.asarray(one).max() for one in numbers])
    elements, counts = np.unique(heaviest, return_counts=True)
    named = elements[np.argsort(-counts, kind="stable")[:n_named]]
    names = np.array(symbols(heaviest), dtype=object)
    return np.where(np.isin(heaviest, named), names, "other").astype(str)
