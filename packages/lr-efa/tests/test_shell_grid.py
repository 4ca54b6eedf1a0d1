"""Grids of reciprocal shells: batches, sizes, bands, chunks of vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_efa import ShellGrid, attend, frequency_grid

OMEGAS, THICKNESS = frequency_grid(3, 1.3), 0.25
ATOM = np.zeros((1, 3))


def test_batches_with_one_grid_per_cell(structure, close):
    cells = jnp.array([np.diag([6.0, 7, 5]), np.diag([4.0, 5, 9]), np.eye(3)])
    masks = jnp.array([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    parts = [structure(seed=s) for s in range(3)]
    arrays = [jnp.stack(x) for x in zip(*parts, strict=True)]
    plan = ShellGrid.for_structures(
        cells, arrays[3], masks, frequencies=OMEGAS, shell_thickness=THICKNESS
    )
    assert len(set(plan.valid.sum(axis=1).tolist())) == 3

    def one(q, k, v, r, cell, plan, mask):
        return attend(
            q,
            k,
            v,
            r,
            cell,
            frequencies=OMEGAS,
            shell_thickness=THICKNESS,
            plan=plan,
            mask=mask,
        )

    result = jax.jit(jax.vmap(one))(*arrays, cells, plan, masks)
    single_call = jax.jit(one)
    for g in range(2):
        single_plan = ShellGrid.for_structures(
            cells[g], arrays[3][g], frequencies=OMEGAS, shell_thickness=THICKNESS
        )
        single = single_call(*(x[g] for x in arrays), cells[g], single_plan, masks[g])
        close(result[g], single, 1e-11)
    assert jnp.all(result[2] == 0)


def test_unsorted_frequencies_and_a_plan_of_other_frequencies(
    structure, triclinic, close
):
    q, k, v, r = structure(qk=10)
    omegas = frequency_grid(5, 1.3)

    def call(q, k, omegas, plan=None):
        kernel = lambda *arrays: attend(
            *arrays, triclinic, frequencies=omegas, shell_thickness=THICKNESS, plan=plan
        )
        return jax.jit(kernel)(q, k, v, r)

    expected = call(q, k, omegas)
    other_plan = ShellGrid.for_structures(
        triclinic, r, frequencies=OMEGAS, shell_thickness=THICKNESS
    )
    close(call(q, k, omegas, other_plan), expected, 1e-12)
    order = np.array([3, 0, 4, 1, 2])
    shuffle = lambda x: np.asarray(x).reshape(6, 5, 2)[:, order].reshape(6, 10)
    close(call(shuffle(q), shuffle(k), omegas[order]), expected, 1e-12)


@pytest.mark.parametrize("degree", [0, 1])
def test_results_are_independent_of_chunks_of_vectors(
    structure, triclinic, close, monkeypatch, degree
):
    q, k, v, r = structure(5, sph=(degree + 1) ** 2)
    plan = ShellGrid.for_structures(
        triclinic, r, frequencies=OMEGAS, shell_thickness=THICKNESS
    )

    def results(limit):
        monkeypatch.setattr("lr_efa._structure_factors._CHUNK", limit)

        def attended(r):
            return attend(
                q,
                k,
                v,
                r,
                triclinic,
                frequencies=OMEGAS,
                degree=degree,
                shell_thickness=THICKNESS,
                plan=plan,
            )

        force = jax.grad(lambda r: jnp.sum(attended(r) ** 2))
        penalty = lambda r: jnp.sum(force(r) ** 2)
        return jax.jit(lambda r: (attended(r), force(r), jax.grad(penalty)(r)))(r)

    for left, right in zip(results(20_000), results(2**22), strict=True):
        close(left, right, 1e-11)


def test_no_vector_of_a_band_is_shorter_than_its_bound(triclinic):
    grid = ShellGrid.for_structures(
        triclinic,
        ATOM,
        frequencies=frequency_grid(6, 1.3),
        shell_thickness=THICKNESS,
        margin=0.1,
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
        grid = ShellGrid.for_structures(cell, ATOM, frequencies=frequency_grid(8, 2.0))
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
    plan = ShellGrid.for_structures(
        cells, np.zeros((2, 1, 3)), frequencies=omegas, shell_thickness=0.05
    )
    assert plan.num_empty.tolist() == [2, 0]
    options = {"frequencies": omegas, "shell_thickness": 0.3}
    assert ShellGrid.for_structures(cells[0], ATOM, **options).num_empty == 0
