"""Lattice reduction: a basis of short lattice vectors."""

import itertools

import numpy as np


def reduced_basis(cell: np.ndarray) -> np.ndarray:
    r"""Returns integers $U$, $\det U = \pm1$, such that the rows of $U C$ are short.

    The longest vector is the last. Pairs of vectors are reduced by rounding, then every
    vector by sums and differences of the other two, until no vector becomes shorter.
    The volume of the cell is then at least $1/\sqrt2$ of the product of the three
    lengths, so that a sphere of wave vectors fills most of the box of integer indices
    around it.

    Args:
        cell: rows are lattice vectors, Å; not singular.
    """
    basis = np.eye(3, dtype=np.int64)
    shortened = True
    while shortened:
        order = np.argsort(_squared_lengths(basis @ cell), kind="stable")
        basis, shortened = _reduce_once(basis[order], cell)
    return basis


def _reduce_once(basis: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, bool]:
    vectors = basis @ cell
    squared_lengths = _squared_lengths(vectors)
    for i, j in itertools.permutations(range(3), 2):
        multiple = np.rint(vectors[i] @ vectors[j] / squared_lengths[j])
        trial = basis[i] - multiple.astype(np.int64) * basis[j]
        if _squared_lengths(trial @ cell) < squared_lengths[i] * (1 - 1e-9):
            return _replaced(basis, i, trial), True
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        for a, b in itertools.product((-1, 1), repeat=2):
            trial = basis[i] + a * basis[j] + b * basis[k]
            if _squared_lengths(trial @ cell) < squared_lengths[i] * (1 - 1e-9):
                return _replaced(basis, i, trial), True
    return basis, False


def _squared_lengths(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.sum(vectors * vectors, axis=-1))


def _replaced(basis: np.ndarray, row: int, vector: np.ndarray) -> np.ndarray:
    basis = basis.copy()
    basis[row] = vector
    return basis
