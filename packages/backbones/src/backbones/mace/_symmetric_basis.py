"""Equivariant symmetric polynomials: the basis of MACE's products."""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np
from e3nn_jax import clebsch_gordan

from .._irreps import degree_slice

Monomial = tuple[int, ...]
"""A product of components: their ascending indices."""


class Polynomials(NamedTuple):
    """Equivariant polynomials of one degree, as sums of monomials."""

    monomials: np.ndarray  # [monomials, order], ascending component indices
    table: np.ndarray  # [basis, 2 degree + 1, monomials]


@functools.lru_cache
def symmetric_basis(degree: int, out: int, order: int) -> Polynomials:
    """All polynomials of an order that turn features up to `degree` into one of `out`.

    They span the equivariant maps from the symmetric power of 0e + 1o + ... to the
    irrep `out` of natural parity. Orthonormalised over the couplings in a fixed
    sequence, so that saved weights mean the same on every machine; scaled to unit
    variance for independent normal components.

    Args:
        degree: highest degree of the factors.
        out: degree of the product.
        order: number of factors.
    """
    size = (degree + 1) ** 2
    monomials = np.array(
        list(itertools.combinations_with_replacement(range(size), order))
    )
    where = {tuple(m): i for i, m in enumerate(monomials)}
    flat = np.array(
        [where[tuple(sorted(i))] for i in itertools.product(range(size), repeat=order)]
    )
    # A symmetric tensor's norm counts a monomial once for each of its permutations.
    multiplicity = np.bincount(flat, minlength=len(monomials))
    kept: list[np.ndarray] = []
    for tensor in _couplings(degree, out, order):
        rows = np.stack(
            [
                np.bincount(flat, component.ravel(), len(monomials))
                for component in tensor
            ]
        )
        rows = rows / multiplicity**0.5
        norm = np.linalg.norm(rows)
        for _ in range(2):  # twice is enough for orthogonality to rounding
            for other in kept:
                rows = rows - np.sum(rows * other) * other
        if np.linalg.norm(rows) > 1e-6 * max(norm, 1e-3):
            kept.append(rows / np.linalg.norm(rows))
    table = np.stack(kept) * multiplicity**0.5
    table *= ((2 * out + 1) / math.factorial(order)) ** 0.5
    table[np.abs(table) < 1e-12] = 0.0
    used = np.any(table != 0, axis=(0, 1))
    return Polynomials(monomials[used], table[..., used])


def _couplings(degree: int, out: int, order: int):
    """Tensors [2 out + 1, size, ..., size] of all left-to-right couplings."""
    size = (degree + 1) ** 2
    chains = []
    for d in range(degree + 1):
        first = np.zeros((2 * d + 1, size))
        first[:, degree_slice(d)] = np.eye(2 * d + 1)
        chains.append((d, d, first))
    for step in range(1, order):
        last = step == order - 1
        grown = []
        for (a, parity, tensor), b in itertools.product(chains, range(degree + 1)):
            for c in range(abs(a - b), a + b + 1):
                if last and (c != out or (parity + b) % 2 != out % 2):
                    continue
                product = np.zeros((2 * c + 1, *tensor.shape[1:], size))
                product[..., degree_slice(b)] = np.einsum(
                    "a...,abc->c...b", tensor, clebsch_gordan(a, b, c)
                )
                grown.append((c, parity + b, product))
        chains = grown
    return [t for d, parity, t in chains if d == out and parity % 2 == out % 2]
