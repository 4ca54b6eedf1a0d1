"""Truncation of the sums of a Coulomb matrix by bounds on the omitted terms."""

import functools as ft
import math

import numpy as np
from scipy.special import erfc, erfcinv

from ._cell import heights
from ._reciprocal_vectors import check_count, vectors_below

# Relative difference of squared lengths that count as equal, plus one.
_ON_SPHERE = 1.0 + 1e-6


def image_counts(
    cells: np.ndarray, scales: np.ndarray, tolerance: float, stretch: float
) -> np.ndarray:
    r"""Number of translations per axis so that omitted images are below a tolerance.

    With n translations per axis, all images within n/2 cell heights are
    included. An omitted image at a distance r contributes at most
    $\operatorname{erfc}(r/a)/r$, a mixture of Gaussians of width below $a/\sqrt2$.
    Omitted images form lattice planes. The sum of a Gaussian over a plane is largest if
    its center is a lattice point, and is then bounded by sums over lines of points.

    Args:
        cells: rows are lattice vectors, `[graphs, 3, 3]`, Å.
        scales: $a$, `[graphs, candidates]`, Å.
        tolerance: bound on the sum over all omitted images, 1/Å.
        stretch: factor by which the cells may be stretched.

    Returns:
        `[graphs, candidates, 3]`.
    """
    a, budget = scales[..., None], tolerance / 3
    height = heights(cells)[:, None] / stretch
    points = _bound_over_planes(cells, a, stretch)

    def weight(distance, a, height, points):
        """Bound on the planes on both sides, relative to an image in the first one."""
        return points / np.tanh(distance * height / a**2) / distance

    a, height, points = np.broadcast_arrays(a, height, points)
    distance = a * float(erfcinv(min(budget, 1.0)))
    for _ in range(3):
        share = np.minimum(budget / weight(distance, a, height, points), 1.0)
        distance = np.maximum(a * erfcinv(share), height / 2)
    counts = np.maximum(np.ceil(2 * distance / height), 1.0)
    while True:
        distance = counts * height / 2
        omitted = erfc(distance / a) * weight(distance, a, height, points)
        if not (short := omitted > budget).any():
            return counts.astype(int)
        counts[short] += 1


def wave_vectors(
    cell: np.ndarray,
    smearing: float,
    tolerance: float,
    stretch: float,
    max_vectors: int,
) -> np.ndarray:
    r"""Indices of the reciprocal vectors that a tolerance needs, sorted by length.

    One of each pair k and -k, without k = 0. The contributions of all omitted vectors
    are summed; the two vectors of a pair contribute at most
    $\frac{8\pi}{V k^2} e^{-s^2 k^2}$.

    Args:
        cell: rows are lattice vectors, Å.
        smearing: $s$, Å.
        tolerance: bound on the sum over all omitted vectors, 1/Å.
        stretch: factor by which the cell may be stretched.
        max_vectors: limit on the number of vectors.
    """
    lowest_factor = float(erfcinv(tolerance))
    check_count(cell, lowest_factor / smearing * stretch, max_vectors)
    volume = abs(np.linalg.det(cell)) / stretch**3
    # A stretched cell has shorter vectors in the exponential and in the denominator.
    scale = stretch**2 / volume
    cutoff_factor = lowest_factor + 1.0
    bound = ft.partial(_bound_beyond, cell, smearing / stretch)
    while (rest := scale * bound(cutoff_factor)) > 0.05 * tolerance:
        cutoff_factor += 0.3
    indices, squared = vectors_below(cell, cutoff_factor / smearing * stretch)
    squared = squared / stretch**2
    terms = 8 * math.pi / volume * np.exp(-(smearing**2) * squared) / squared
    tails = np.cumsum(terms[::-1])[::-1]
    needed = int(np.sum(tails > tolerance - rest))
    if needed < len(squared):
        # Vectors of equal length are all included, which preserves the symmetry.
        last = squared[needed - 1] if needed else 0.0
        needed = int(np.sum(squared < last * _ON_SPHERE))
    return indices[:needed]


def _bound_over_planes(cells: np.ndarray, a: np.ndarray, stretch: float) -> np.ndarray:
    r"""Upper bound on $\sum_R e^{-R^2/a^2}$ over the plane of two lattice vectors."""
    edges = np.linalg.norm(cells, axis=-1)
    areas = np.abs(np.linalg.det(cells))[:, None] / heights(cells)
    bounds = []
    for shift in (1, 2):
        line = np.roll(edges, -shift, axis=-1)
        along_line = _bound_over_lines(line[:, None] / stretch, a)
        bounds.append(
            along_line * _bound_over_lines((areas / line)[:, None] / stretch, a)
        )
    return np.minimum(*bounds)


def _bound_over_lines(spacing: np.ndarray, a: np.ndarray) -> np.ndarray:
    r"""Upper bound on $\sum_m e^{-m^2 l^2/a^2}$, by an integral or a geometric sum."""
    q = spacing / a
    series = 2 * np.exp(-(q**2)) / -np.expm1(-3 * q**2)
    return 1 + np.minimum(math.sqrt(math.pi) / q, series)


def _bound_beyond(cell: np.ndarray, smearing: float, cutoff_factor: float) -> float:
    r"""Upper bound on $\sum_{sk > x} 4\pi e^{-s^2k^2}/k^2$ over reciprocal vectors, Å².

    The cutoff factor is $x$. For $sk > x$, $e^{-s^2k^2} \le
    e^{-x^2 + t} e^{-t s^2k^2/x^2}$; sums over lines of lattice points bound the sum of
    the right-hand side.
    """
    t = 1.5
    dual = 2 * math.pi * np.linalg.inv(cell).T
    # Lengths of the vectors orthogonalized by Gram-Schmidt.
    lines = np.abs(np.diagonal(np.linalg.qr(dual.T)[1]))
    points = _bound_over_lines(
        lines, np.asarray(cutoff_factor / (smearing * math.sqrt(t)))
    )
    largest = math.exp(t - cutoff_factor**2) * (smearing / cutoff_factor) ** 2
    return 4 * math.pi * largest * float(np.prod(points))
