"""Grids of reciprocal shells: batches, sizes, bands, chunks of vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_efa import (
    attend_directional_periodic,
    attend_periodic,
    frequency_grid,
    shell_grid,
)

OMEGAS, WIDTH = frequency_grid(3, 1.3), 0.25


def test_batches_with_one_grid_per_cell(structure, close):
    cells = jnp.array([np.diag([6.0, 7, 5]), np.diag([4.0, 5, 9]), np.eye(3)])
    masks = jnp.array([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    parts = [structure(seed=s) for s in range(3)]
    arrays = [jnp.stack(x) for x in zip(*parts, strict=True)]
    plan = shell_grid(cells, OMEGAS, shell_thickness=WIDTH)
    assert len(set(plan.valid.sum(axis=1).tolist())) == 3

    def one(q, k, v, r, cell, grid, mask):
        return attend_periodic(
            q, k, v, r, cell, OMEGAS, shell_thickness=WIDTH, grid=grid, mask=mask
        )

    result = jax.jit(jax.vmap(one))(*arrays, cells, plan, masks)
    single_call = jax.jit(one)
    for g in range(2):
        grid = shell_grid(cells[g], OMEGAS, shell_thickness=WIDTH)
        single = single_call(*(x[g] for x in arrays), cells[g], grid, masks[g])
        close(result[g], single, 1e-11)
    assert jnp.all(result[2] == 0)


def test_unsorted_frequencies_and_a_grid_of_other_frequencies(
    structure, triclinic, close
):
    q, k, v, r = structure(qk=10)
    omegas = frequency_grid(5, 1.3)

    def call(q, k, omegas, grid=None):
        kernel = lambda *arrays: attend_periodic(
            *arrays, triclinic, omegas, shell_thickness=WIDTH, grid=grid
        )
        return jax.jit(kernel)(q, k, v, r)

    expected = call(q, k, omegas)
    other_grid = shell_grid(triclinic, OMEGAS, shell_thickness=WIDTH)
    close(call(q, k, omegas, other_grid), expected, 1e-12)
    order = np.array([3, 0, 4, 1, 2])
    shuffle = lambda x: np.asarray(x).reshape(6, 5, 2)[:, order].reshape(6, 10)
    close(call(shuffle(q), shuffle(k), omegas[order]), expected, 1e-12)


@pytest.mark.parametrize("degree", [0, 1])
def test_results_are_independent_of_chunks_of_vectors(
    structure, triclinic, close, monkeypatch, degree
):
    q, k, v, r = structure(5, sph=(degree + 1) ** 2)
    grid = shell_grid(triclinic, OMEGAS, shell_thickness=WIDTH)

    def results(limit):
        monkeypatch.setattr("lr_efa._structure_factors._CHUNK", limit)

        def attended(r):
            return attend_directional_periodic(
                q,
                k,
                v,
                r,
                triclinic,
                OMEGAS,
                degree=degree,
                shell_thickness=WIDTH,
                grid=grid,
            )

        force = jax.grad(lambda r: jnp.sum(attended(r) ** 2))
        penalty = lambda r: jnp.sum(force(r) ** 2)
        return jax.jit(lambda r: (attended(r), force(r), jax.grad(penalty)(r)))(r)

    for left, right in zip(results(20_000), results(2**22), strict=True):
        close(left, right, 1e-11)


def test_no_vector_of_a_band_is_shorter_than_its_bound(triclinic):
    grid = shell_grid(
        triclinic, frequency_grid(6, 1.3), shell_thickness=WIDTH, margin=0.1
    )
    assert len(grid.bands) == 4
    indices, valid, cells = map(np.asarray, (grid.indices, grid.valid, triclinic))
    first = 0
    for size, start in grid.bands:
        band = slice(first, first + size)
        for cell in (cells, 1.09 * cells, 0.8 * cells):
            waves = 2 * np.pi * indices[band] @ np.linalg.inv(cell).T
            shortest = np.linalg.norm(waves, axis=1)[valid[band]].min()
            assert start <= shortest
        first += size
    assert first == len(grid.indices)


def test_padded_sizes_are_few_and_tight():
    rng, counts_by_bands = np.random.default_rng(0), {}
    for edge in rng.uniform(6, 14, 40):
        cell = edge * (np.eye(3) + 0.2 * rng.uniform(-1, 1, (3, 3)))
        grid = shell_grid(cell, frequency_grid(8, 2.0), shell_thickness=0.15)
        counts_by_bands.setdefault(grid.bands, []).append(int(grid.valid.sum()))
    # Volumes differ by a factor of twenty: four doublings with eight sizes each.
    assert len(counts_by_bands) <= 33
    for bands, counts in counts_by_bands.items():
        padded = sum(size for size, _ in bands)
        assert max(counts) <= padded <= 1.3 * min(counts) + 30


def test_empty_frequencies_are_counted():
    omegas = np.array([0.0, 0.1, 0.3, 0.785398, 1.0])
    cells = np.stack([8.0 * np.eye(3), 100.0 * np.eye(3)])
    # The shortest vector of the small cell is 2 pi / 8 = 0.785.
    plan = shell_grid(cells, omegas, shell_thickness=0.05)
    assert plan.num_empty.tolist() == [2, 0]
    assert shell_grid(cells[0], omegas, shell_thickness=0.3).num_empty == 0
