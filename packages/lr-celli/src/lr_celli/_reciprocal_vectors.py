"""Indices of reciprocal lattice vectors, made on the host."""

import math

import numpy as np


def half_sphere(cell: np.ndarray, radius: float, max_vectors: int) -> np.ndarray:
    """Indices `[vectors, 3]` of the reciprocal vectors shorter than `radius`.

    One of each pair k and -k, without k = 0, sorted by length.

    Args:
        cell: rows are lattice vectors, Å.
        radius: 1/Å.
        max_vectors: limit on the number of vectors.

    Raises:
        ValueError: there are more vectors.
    """
    check_count(cell, radius, max_vectors)
    return vectors_below(cell, radius)[0]


def check_count(cell: np.ndarray, radius: float, max_vectors: int) -> None:
    """Raises ValueError if a sphere contains too many reciprocal vectors."""
    expected = abs(np.linalg.det(cell)) * radius**3 / (12 * math.pi**2)
    limits = _largest_indices(cell, radius)
    # In a skew cell the box of indices that is searched is much larger than the sphere.
    searched = (limits[0] + 1.0) * np.prod(2.0 * limits[1:] + 1.0)
    if expected > max_vectors or searched > 100 * max_vectors:
        raise ValueError(
            f"The cell {cell.tolist()} needs about {expected:.0f} reciprocal vectors "
            f"(searched among {searched:.0f}), more than `max_vectors={max_vectors}`: "
            "raise `tolerance`, give a reduced cell, or use the mesh."
        )


def vectors_below(cell: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The indices of `half_sphere`, and the vectors' squared lengths, 1/Å²."""
    limits = _largest_indices(cell, radius)
    axes = [np.arange(limits[0] + 1), *(np.arange(-m, m + 1) for m in limits[1:])]
    indices = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    dual = 2 * math.pi * np.linalg.inv(cell).T
    squared = np.sum((indices @ dual) ** 2, axis=1)
    # The first nonzero component is positive for exactly one of n and -n.
    sign = np.sign(indices) @ (9, 3, 1)
    inside = (sign > 0) & (squared < radius**2)
    order = np.argsort(squared[inside], kind="stable")
    return indices[inside][order], squared[inside][order]


def _largest_indices(cell: np.ndarray, radius: float) -> np.ndarray:
    """The largest index per axis of a vector shorter than `radius`."""
    lengths = np.linalg.norm(cell, axis=1)
    return np.floor(lengths * radius / (2 * math.pi)).astype(int)


def padded(parts: list[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Index vectors of several graphs in one array, and a mask false on padding."""
    indices = np.zeros((len(parts), size, 3), np.int32)
    valid = np.zeros((len(parts), size), bool)
    for i, part in enumerate(parts):
        indices[i, : len(part)] = part
        valid[i, : len(part)] = True
    return indices, valid


def rounded_up(count: int) -> int:
    """The next of 16, 18, ..., 32, 36, ..., 64, 72, ...: adds at most an eighth."""
    step = 2
    while 16 * step < count:
        step *= 2
    return max(16, -(-count // step) * step)
