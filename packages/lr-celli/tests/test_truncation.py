"""What the sums leave out stays below the tolerance, all of it together."""

import jax.numpy as jnp
import numpy as np
import pytest
from lr_celli import COULOMB_CONSTANT, Ewald
from lr_celli._truncation import image_counts, wave_vectors
from scipy.special import erfc

CELLS = {
    "cube": 2.5 * np.eye(3),
    "flat": np.diag([2.0, 2.0, 9.0]),
    "needle": np.diag([6.0, 2.2, 2.2]),
    "skew": np.array([[3.0, 0, 0], [6.5, 2.0, 0], [1.0, 3.5, 2.8]]),
    "fcc": 1.8 * (1 - np.eye(3)),
}


def worst_places(cell, atoms=8):
    """At one another, half a lattice vector away, and anywhere."""
    rng = np.random.default_rng(0)
    coordinates = rng.uniform(0, 1, (atoms, 3))
    halves = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0, 0.5]]
    coordinates[1:5] = coordinates[0] + np.array(halves)
    return coordinates @ cell


@pytest.mark.parametrize(
    ("name", "width", "highest", "tolerance"),
    [
        ("cube", 0.1, 0.1, 1e-6),
        ("cube", 1.0, 1.0, 1e-3),
        ("flat", 0.1, 0.1, 1e-6),
        ("needle", 0.3, 0.3, 1e-3),
        ("skew", 0.1, 3.0, 1e-6),
        ("fcc", 0.1, 0.1, 1e-3),
    ],
)
def test_small_cells_keep_the_tolerance(
    matrix, reciprocal_sum, name, width, highest, tolerance
):
    cell = CELLS[name]
    split = Ewald.for_cells(cell, width_bounds=(width, highest), tolerance=tolerance)
    places, widths = jnp.asarray(worst_places(cell)), jnp.full(8, width)
    found = matrix(places, widths, jnp.asarray(cell), ewald=split)
    error = np.abs(found - reciprocal_sum(places, widths, cell)) / COULOMB_CONSTANT
    assert error.max() < tolerance


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_omitted_images_are_bounded_and_not_far_below(name, scale):
    """All images of a larger box, summed at the worst offsets."""
    cell, tolerance = CELLS[name], 1e-4
    counts = image_counts(cell[None], np.array([[scale]]), tolerance, 1.0)[0, 0]
    wide = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    reach = np.ceil(counts / 2 + 3 * scale / wide)
    axes = [np.arange(-r, r + 1) for r in reach]
    whole = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    offsets = np.random.default_rng(1).uniform(0, 1, (10, 3))
    offsets[:8] = np.stack(np.meshgrid(*[[0.0, 0.5]] * 3), -1).reshape(-1, 3)

    def omitted(counts):
        sums = []
        for offset in offsets:
            kept = np.all((whole + offset >= -counts / 2), axis=1)
            kept &= np.all((whole + offset < counts / 2), axis=1)
            distance = np.linalg.norm((whole + offset)[~kept] @ cell, axis=1)
            sums.append(np.sum(erfc(distance / scale) / distance))
        return max(sums)

    assert omitted(counts) < tolerance
    # Two translations fewer an axis are too few: the bound is no waste, except where
    # the planes of a skew cell are closer than any two of its points.
    if name != "skew" and (counts > 2).any():
        assert omitted(np.maximum(counts - 2, 1)) > tolerance / 10


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("stretch", [1.0, 1.1])
def test_omitted_vectors_are_bounded(name, stretch):
    """Also in the cell that is longest along the omitted ones."""
    cell, split, tolerance = CELLS[name], 0.7, 1e-5
    kept = wave_vectors(cell, split, tolerance, stretch, 10_000)
    most = np.ceil(9 / split * stretch * np.linalg.norm(cell, axis=1) / (2 * np.pi))
    axes = [np.arange(-m, m + 1) for m in most]
    whole = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    chosen = {tuple(n) for n in np.concatenate([kept, -kept, np.zeros((1, 3))])}
    rest = np.array([n for n in whole if tuple(n) not in chosen])
    squared = np.sum((2 * np.pi * rest @ np.linalg.inv(stretch * cell).T) ** 2, axis=1)
    volume = abs(np.linalg.det(stretch * cell))
    terms = 4 * np.pi / volume * np.exp(-(split**2) * squared) / squared
    assert np.sum(terms) < tolerance
    lengths = np.linalg.norm(rest @ np.linalg.inv(cell).T, axis=1)
    inside = np.linalg.norm(kept @ np.linalg.inv(cell).T, axis=1)
    assert lengths.min() > inside.max(initial=0.0) * (1 - 1e-9)
