"""Equivariant symmetric polynomials: the basis of MACE's products."""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np
from e3nn_jax import clebsch_gordan

from .._irreps import degree_slice

Monomial = tuple[int, ...]
"""A product of components, given by their ascending indices."""


class Polynomials(NamedTuple):
    """Equivariant polynomials of one degree, as sums of monomials."""

    monomials: np.ndarray
    """Ascending component indices, `(monomials, order)`."""
    table: np.ndarray
    """Coefficients, `(basis, 2 degree + 1, monomials)`."""


@functools.lru_cache
def symmetric_basis(degree: int, out: int, order: int) -> Polynomials:
    """Returns a basis of the equivariant symmetric polynomials of one order.

    It spans the equivariant maps from the symmetric power of 0e + 1o + ... to the
    irrep of natural parity and degree `out`. The couplings are orthonormalized in a
    fixed sequence, so that the basis is the same on all machines, and scaled to unit
    variance for independent normal components.

    Args:
        degree: highest degree of the factors.
        out: degree of the polynomials.
        order: number of factors.
    """
    size = (degree + 1) ** 2
    monomials = np.array(
        list(itertools.combinations_with_replacement(range(size), order))
    )
    index = {tuple(m): i for i, m in enumerate(monomials)}
    flat = np.array(
        [index[tuple(sorted(i))] for i in itertools.product(range(size), repeat=order)]
    )
    # The norm of a symmetric tensor counts each permutation of a monomial.
    multiplicity = np.bincount(flat, minlength=len(monomials))
    basis: list[np.ndarray] = []
    for tensor in _couplings(degree, out, order):
        rows = np.stack(
            [
                np.bincount(flat, component.ravel(), len(monomials))
                for component in tensor
            ]
        )
        rows = rows / multiplicity**0.5
        norm = np.linalg.norm(rows)
        for _ in range(2):  # two passes give orthogonality to rounding
            for other in basis:
                rows = rows - np.sum(rows * other) * other
        if np.linalg.norm(rows) > 1e-6 * max(norm, 1e-3):
            basis.append(rows / np.linalg.norm(rows))
    table = np.stack(basis) * multiplicity**0.5
    table *= ((2 * out + 1) / math.factorial(order)) ** 0.5
    table[np.abs(table) < 1e-12] = 0.0
    used = np.any(table != 0, axis=(0, 1))
    return Polynomials(monomials[used], table[..., used])


def _couplings(degree: int, out: int, order: int):
    """Returns the tensors [2 out + 1, size, ..., size] of left-to-right couplings."""
    size = (degree + 1) ** 2
    chains = []
    for d in range(degree + 1):
        first = np.zeros((2 * d + 1, size))
        first[:, degree_slice(d)] = np.eye(2 * d + 1)
        chains.append((d, d, first))
    for step in range(1, order):
        last = step == order - 1
        longer = []
        for (a, parity, tensor), b in itertools.product(chains, range(degree + 1)):
            for c in range(abs(a - b), a + b + 1):
                if last and (c != out or (parity + b) % 2 != out % 2):
                    continue
                product = np.zeros((2 * c + 1, *tensor.shape[1:], size))
                product[..., degree_slice(b)] = np.einsum(
                    "a...,abc->c...b", tensor, clebsch_gordan(a, b, c)
                )
                longer.append((c, parity + b, product))
        chains = longer
    return [t for d, parity, t in chains if d == out and parity % 2 == out % 2]
