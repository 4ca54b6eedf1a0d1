"""Where the two sums of a Coulomb matrix may end: bounds on all that is left out."""

import math

import numpy as np
from scipy.special import erfc, erfcinv

from ._lattice import heights
from ._vectors import check_count, vectors_below

_ON_SPHERE = 1.0 + 1e-6


def image_counts(
    cells: np.ndarray, scales: np.ndarray, tolerance: float, stretch: float
) -> np.ndarray:
    r"""Translations an axis `[graphs, splits, 3]` whose omission costs a tolerance.

    With n of them an axis, all images within n/2 heights are met. One omitted image at
    a distance r costs at most $\operatorname{erfc}(r/a)/r$, a mixture of Gaussians of
    width below $a/\sqrt2$. Omitted images lie in lattice planes; a Gaussian summed over
    one is largest if centred at a lattice point, where lines of points bound it.

    Args:
        cells: rows are lattice vectors, Å.
        scales: $a$, `[graphs, splits]`, Å.
        tolerance: bound on the sum over all omitted images, 1/Å.
        stretch: largest relative strain of the cells.
    """
    a, budget = scales[..., None], tolerance / 3
    height = heights(cells)[:, None] / stretch
    points = _points_of_planes(cells, a, stretch)

    def weight(distance, a, height, points):
        """The planes on both sides, relative to one image at the first of them."""
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
    split: float,
    tolerance: float,
    stretch: float,
    max_vectors: int,
) -> np.ndarray:
    r"""Integers of the reciprocal vectors that a tolerance needs, shortest first.

    One of each pair k and -k, without k = 0. The omitted ones are summed: both of a
    pair cost at most $\frac{8\pi}{V k^2} e^{-s^2 k^2}$.

    Args:
        cell: rows are lattice vectors, Å.
        split: $s$, Å.
        tolerance: bound on the sum over all omitted vectors, 1/Å.
        stretch: largest relative strain of the cell.
        max_vectors: more are refused.
    """
    reach = float(erfcinv(tolerance))
    check_count(cell, reach / split * stretch, max_vectors)
    volume = abs(np.linalg.det(cell)) / stretch**3
    # A stretch shortens the vectors, in the exponential as in the denominator.
    scale = stretch**2 / volume
    beyond = reach + 1.0
    while (rest := scale * _beyond(cell, split / stretch, beyond)) > 0.05 * tolerance:
        beyond += 0.3
    integers, squared = vectors_below(cell, beyond / split * stretch)
    squared = squared / stretch**2
    costs = 8 * math.pi / volume * np.exp(-(split**2) * squared) / squared
    tails = np.cumsum(costs[::-1])[::-1]
    needed = int(np.sum(tails > tolerance - rest))
    if needed < len(squared):
        # Vectors of one length go together: a cut between them would break symmetry.
        last = squared[needed - 1] if needed else 0.0
        needed = int(np.sum(squared < last * _ON_SPHERE))
    return integers[:needed]


def _points_of_planes(cells: np.ndarray, a: np.ndarray, stretch: float) -> np.ndarray:
    r"""Bounds $\sum_R e^{-R^2/a^2}$ over the points of a plane through two vectors."""
    edges = np.linalg.norm(cells, axis=-1)
    areas = np.abs(np.linalg.det(cells))[:, None] / heights(cells)
    bounds = []
    for shift in (1, 2):
        line = np.roll(edges, -shift, axis=-1)
        own = _points_of_lines(line[:, None] / stretch, a)
        bounds.append(own * _points_of_lines((areas / line)[:, None] / stretch, a))
    return np.minimum(*bounds)


def _points_of_lines(spacing: np.ndarray, a: np.ndarray) -> np.ndarray:
    r"""Bounds $\sum_m e^{-m^2 l^2/a^2}$, by an integral or by a geometric series."""
    q = spacing / a
    series = 2 * np.exp(-(q**2)) / -np.expm1(-3 * q**2)
    return 1 + np.minimum(math.sqrt(math.pi) / q, series)


def _beyond(cell: np.ndarray, split: float, reach: float) -> float:
    r"""Bounds $\sum_{sk > x} 4\pi e^{-s^2k^2}/k^2$ over all reciprocal vectors, Å².

    $e^{-s^2k^2} \le e^{-x^2 + t} e^{-t s^2k^2/x^2}$ where $sk > x$, and the lines of
    lattice points bound the sum of the latter.
    """
    t = 1.5
    dual = 2 * math.pi * np.linalg.inv(cell).T
    # Lengths of the vectors that Gram and Schmidt leave.
    lines = np.abs(np.diagonal(np.linalg.qr(dual.T)[1]))
    points = _points_of_lines(lines, np.asarray(reach / (split * math.sqrt(t))))
    largest = math.exp(t - reach**2) * (split / reach) ** 2
    return 4 * math.pi * largest * float(np.prod(points))
