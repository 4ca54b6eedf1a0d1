"""The omitted terms of both sums: their total is below the tolerance."""

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


def worst_positions(cell, atoms=8):
    """Coincident atoms, atoms half a lattice vector apart, and random positions."""
    rng = np.random.default_rng(0)
    coordinates = rng.uniform(0, 1, (atoms, 3))
    halves = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0, 0.5]]
    coordinates[1:5] = coordinates[0] + np.array(halves)
    return coordinates @ cell


@pytest.mark.parametrize(
    ("name", "width", "max_width", "tolerance"),
    [
        ("cube", 0.1, 0.1, 1e-6),
        ("cube", 1.0, 1.0, 1e-3),
        ("flat", 0.1, 0.1, 1e-6),
        ("needle", 0.3, 0.3, 1e-3),
        ("skew", 0.1, 3.0, 1e-6),
        ("fcc", 0.1, 0.1, 1e-3),
    ],
)
def test_small_cells_reach_the_tolerance(
    matrix, reciprocal_sum, name, width, max_width, tolerance
):
    cell = CELLS[name]
    positions, widths = worst_positions(cell), np.full(8, width)
    plan = Ewald.for_structures(
        cell, positions, width_bounds=(width, max_width), tolerance=tolerance
    )
    actual = matrix(*map(jnp.asarray, (positions, widths, cell)), plan=plan)
    error = np.abs(actual - reciprocal_sum(positions, widths, cell)) / COULOMB_CONSTANT
    assert error.max() < tolerance


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_the_bound_on_omitted_images_is_valid_and_tight(name, scale):
    """Compares with the sum over all images in a larger box, at the worst offsets."""
    cell, tolerance = CELLS[name], 1e-4
    counts = image_counts(cell[None], np.array([[scale]]), tolerance, 1.0)[0, 0]
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    reach = np.ceil(counts / 2 + 3 * scale / heights)
    axes = [np.arange(-r, r + 1) for r in reach]
    translations = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    offsets = np.random.default_rng(1).uniform(0, 1, (10, 3))
    offsets[:8] = np.stack(np.meshgrid(*[[0.0, 0.5]] * 3), -1).reshape(-1, 3)

    def omitted(counts):
        sums = []
        for offset in offsets:
            included = np.all((translations + offset >= -counts / 2), axis=1)
            included &= np.all((translations + offset < counts / 2), axis=1)
            outside = (translations + offset)[~included]
            distance = np.linalg.norm(outside @ cell, axis=1)
            sums.append(np.sum(erfc(distance / scale) / distance))
        return max(sums)

    assert omitted(counts) < tolerance
    # Two translations fewer per axis are too few. The bound is not tight for a skew
    # cell, whose lattice planes are closer than any two of its points.
    if name != "skew" and (counts > 2).any():
        assert omitted(np.maximum(counts - 2, 1)) > tolerance / 10


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("stretch", [1.0, 1.1])
def test_omitted_reciprocal_vectors_are_below_the_tolerance(name, stretch):
    """Also in a cell that is stretched in all directions."""
    cell, smearing, tolerance = CELLS[name], 0.7, 1e-5
    included = wave_vectors(cell, smearing, tolerance, stretch, 10_000)
    limits = 9 / smearing * stretch * np.linalg.norm(cell, axis=1) / (2 * np.pi)
    axes = [np.arange(-m, m + 1) for m in np.ceil(limits)]
    indices = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    both_signs = np.concatenate([included, -included, np.zeros((1, 3))])
    excluded = {tuple(n) for n in both_signs}
    omitted = np.array([n for n in indices if tuple(n) not in excluded])
    k = 2 * np.pi * omitted @ np.linalg.inv(stretch * cell).T
    squared = np.sum(k**2, axis=1)
    volume = abs(np.linalg.det(stretch * cell))
    terms = 4 * np.pi / volume * np.exp(-(smearing**2) * squared) / squared
    assert np.sum(terms) < tolerance
    lengths = np.linalg.norm(omitted @ np.linalg.inv(cell).T, axis=1)
    largest = np.linalg.norm(included @ np.linalg.inv(cell).T, axis=1).max(initial=0.0)
    assert lengths.min() > largest * (1 - 1e-9)
