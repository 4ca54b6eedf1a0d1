"""Integer vectors of the reciprocal lattice, found on the host."""

import math

import numpy as np


def half_sphere(cell: np.ndarray, radius: float, max_vectors: int) -> np.ndarray:
    """Integers `[vectors, 3]` of the reciprocal vectors shorter than `radius`.

    One of each pair k and -k, without k = 0, shortest first.

    Args:
        cell: rows are lattice vectors, Å.
        radius: 1/Å.
        max_vectors: more are refused.
    """
    check_count(cell, radius, max_vectors)
    return vectors_below(cell, radius)[0]


def check_count(cell: np.ndarray, radius: float, max_vectors: int) -> None:
    """Refuses a sphere of too many reciprocal vectors before they are made."""
    expected = abs(np.linalg.det(cell)) * radius**3 / (12 * math.pi**2)
    most = _largest(cell, radius)
    # A skew cell hides a small sphere in a large box of indices, which is searched.
    searched = (most[0] + 1.0) * np.prod(2.0 * most[1:] + 1.0)
    if expected > max_vectors or searched > 100 * max_vectors:
        raise ValueError(
            f"The cell {cell.tolist()} needs about {expected:.0f} reciprocal vectors "
            f"(searched among {searched:.0f}), more than `max_vectors={max_vectors}`: "
            "raise `tolerance`, give a reduced cell, or use the mesh."
        )


def vectors_below(cell: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The integers of `half_sphere`, and the vectors' squared lengths, 1/Å²."""
    most = _largest(cell, radius)
    axes = [np.arange(most[0] + 1), *(np.arange(-m, m + 1) for m in most[1:])]
    integers = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    dual = 2 * math.pi * np.linalg.inv(cell).T
    squared = np.sum((integers @ dual) ** 2, axis=1)
    # The first non-zero component is positive in exactly one of n and -n.
    sign = np.sign(integers) @ (9, 3, 1)
    inside = (sign > 0) & (squared < radius**2)
    order = np.argsort(squared[inside], kind="stable")
    return integers[inside][order], squared[inside][order]


def _largest(cell: np.ndarray, radius: float) -> np.ndarray:
    """The largest integer an axis of a vector shorter than `radius`."""
    lengths = np.linalg.norm(cell, axis=1)
    return np.floor(lengths * radius / (2 * math.pi)).astype(int)


def padded(parts: list[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Integer vectors of several graphs in one array, and which entries are real."""
    indices = np.zeros((len(parts), size, 3), np.int32)
    valid = np.zeros((len(parts), size), bool)
    for i, part in enumerate(parts):
        indices[i, : len(part)] = part
        valid[i, : len(part)] = True
    return indices, valid


def rounded_up(count: int) -> int:
    """The next of 16, 18, ..., 32, 36, ..., 64, 72, ...: at most an eighth too many."""
    step = 2
    while 16 * step < count:
        step *= 2
    return max(16, -(-count // step) * step)
