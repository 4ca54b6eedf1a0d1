"""Invariance and equivariance: rotation, permutation, padding, batches."""

import e3nn_jax as e3nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_efa import OpenPlan, attend, frequency_grid, lebedev_grid

OMEGAS = frequency_grid(3, 1.1)
FINE = OpenPlan(lebedev_grid(16.0, 1e-12, degree=2), OMEGAS[-1])
METHODS = pytest.mark.parametrize("method", ["exact", "quadrature"])


@jax.jit
def scalars(query, key, value, positions, mask):
    return [
        attend(
            query,
            key,
            value,
            positions,
            frequencies=OMEGAS,
            mask=mask,
            method=method,
            plan=FINE,
        )
        for method in ("exact", "quadrature")
    ]


@jax.jit
def second_degree(query, key, value, positions):
    return [
        attend(
            query,
            key,
            value,
            positions,
            frequencies=OMEGAS,
            degree=2,
            method=method,
            plan=FINE,
        )
        for method in ("exact", "quadrature")
    ]


def rotated(features, axes):
    """Features up to degree 2 in e3nn order, rotated like `positions @ axes.T`."""
    irreps = e3nn.Irreps("0e+1o+2e")
    matrix = np.asarray(irreps.D_from_matrix(jnp.asarray(axes)))
    return jnp.asarray(np.einsum("st,nt...->ns...", matrix, np.asarray(features)))


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
def test_attention_is_invariant_under_rigid_motions(structure, axes, close, improper):
    q, k, v, r = structure()
    mask = jnp.ones(6, bool)
    moved = r @ axes(improper) + jnp.array([1.0, -2.0, 300.5])
    result, expected = scalars(q, k, v, moved, mask), scalars(q, k, v, r, mask)
    close(result[0], expected[0], 1e-12)
    close(result[1], expected[1], 1e-10)


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
def test_features_of_every_degree_are_equivariant(structure, axes, close, improper):
    q, k, v, r = structure(sph=9)
    matrix = axes(improper)
    results = second_degree(*(rotated(x, matrix) for x in (q, k, v)), r @ matrix.T)
    unrotated = second_degree(q, k, v, r)
    for method, tolerance in ((0, 1e-12), (1, 1e-9)):
        result, expected = map(np.asarray, (results[method], unrotated[method]))
        expected = np.asarray(rotated(expected, matrix))
        for degree in (slice(0, 1), slice(1, 4), slice(4, 9)):
            close(result[:, degree], expected[:, degree], tolerance)


def test_features_of_every_degree_are_not_zero(structure):
    q, k, v, r = structure(sph=1)
    for result in second_degree(q, k, v, r):
        scale = np.max(np.abs(result), axis=(0, 2))
        assert np.all(scale > 1e-2)


def test_a_coarse_grid_is_invariant_to_its_accuracy(structure, axes):
    q, k, v, r = structure()
    plan = OpenPlan(lebedev_grid(1.1 * 10.5, 1e-3), OMEGAS[-1])
    rotations = [axes(), axes() @ axes(), jnp.eye(3)]
    call = jax.jit(
        lambda r: attend(q, k, v, r, frequencies=OMEGAS, method="quadrature", plan=plan)
    )
    results = np.stack([call(r @ rotation) for rotation in rotations])
    query, key, value = map(np.abs, (q, k, v))
    products = np.einsum("mkj,nkj->mn", query.reshape(6, 3, 2), key.reshape(6, 3, 2))
    bound = 2e-3 * products @ value / 6**0.5
    difference = np.max(results, axis=0) - np.min(results, axis=0)
    assert np.all(difference < bound) and np.max(difference) > 1e-8


def test_attention_is_equivariant_under_permutations(structure, close):
    arrays, mask = structure(), jnp.ones(6, bool)
    order = np.random.default_rng(2).permutation(6)
    result = scalars(*(x[order] for x in arrays), mask)
    for left, right in zip(result, scalars(*arrays, mask), strict=True):
        close(left, right[order], 1e-12)


def test_padding_has_no_effect_and_is_zero(structure, close):
    arrays, reference = structure(), None
    mask = jnp.arange(9) < 6
    for fill in (0.0, 1e6, np.nan, np.inf):
        padded = (np.concatenate([x, np.full((3, x.shape[1]), fill)]) for x in arrays)
        result = scalars(*padded, mask)
        reference = result if reference is None else reference
        for left, right in zip(result, reference, strict=True):
            np.testing.assert_array_equal(left, right)
            assert np.all(np.asarray(left)[6:] == 0)
    for left, right in zip(scalars(*arrays, jnp.ones(6, bool)), reference, strict=True):
        close(right[:6], left, 1e-12)


@METHODS
def test_a_hundred_padding_atoms_have_no_effect(structure, close, method):
    arrays = structure()
    unpadded = [*arrays, jnp.ones(6, bool)]
    padding = structure(100, seed=4)
    padded = [np.concatenate(pair) for pair in zip(arrays, padding, strict=True)]
    index = ("exact", "quadrature").index(method)
    result = np.asarray(scalars(*padded, np.arange(106) < 6)[index])
    close(result[:6], scalars(*unpadded)[index], 1e-12)


def test_batches_equal_single_structures_and_gradients_do_not_mix(structure, close):
    parts = [structure(seed=s) for s in range(3)]
    arrays = [jnp.stack(x) for x in zip(*parts, strict=True)]
    masks = jnp.array([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])

    def first_two(arrays):
        results = jax.vmap(scalars)(*arrays, masks)
        return sum(jnp.sum(x[:2] ** 2) for x in results)

    result = jax.vmap(scalars)(*arrays, masks)
    for g in range(3):
        single = scalars(*(x[g] for x in arrays), masks[g])
        for left, right in zip(result, single, strict=True):
            np.testing.assert_allclose(left[g], right, rtol=1e-10, atol=1e-13)
    masks = np.asarray(masks)
    for gradient in map(np.asarray, jax.jit(jax.grad(first_two))(arrays)):
        assert np.all(gradient[2] == 0) and np.all(gradient[~masks] == 0)
        assert np.all(gradient[masks] != 0)


def test_heads_are_independent(structure, close):
    first, second = structure(), structure(seed=1)
    r = first[3]
    heads = [jnp.stack(pair) for pair in zip(first[:3], second[:3], strict=True)]
    call = lambda q, k, v: scalars(q, k, v, r, jnp.ones(6, bool))[1]
    result = jax.vmap(call)(*heads)
    close(result[0], call(*first[:3]))
    close(result[1], call(*second[:3]))


def test_attention_is_bilinear_in_query_and_key(structure, close):
    q, k, v, r = structure()
    mask = jnp.ones(6, bool)
    total = scalars(2 * q, 3 * k, v, r, mask)
    for left, right in zip(total, scalars(q, k, v, r, mask), strict=True):
        close(left, 6 * right, 1e-12)


def test_results_are_independent_of_chunks_and_blocks(structure, close, monkeypatch):
    atoms = 40
    q, k, v, r = structure(atoms, sph=4)
    mask = jnp.arange(atoms) < atoms - 2

    def results():
        call = lambda method: attend(
            q,
            k,
            v,
            r,
            frequencies=OMEGAS,
            degree=1,
            mask=mask,
            method=method,
            plan=FINE,
        )
        slope = lambda method: jax.grad(
            lambda r: jnp.sum(
                attend(
                    q,
                    k,
                    v,
                    r,
                    frequencies=OMEGAS,
                    degree=1,
                    mask=mask,
                    method=method,
                    plan=FINE,
                )
                ** 2
            )
        )(r)
        return [f(m) for f in (call, slope) for m in ("exact", "quadrature")]

    def limited(waves, rows):
        monkeypatch.setattr("lr_efa._waves._CHUNK", 2 * 4 * 6 * atoms * waves)
        monkeypatch.setattr("lr_efa._pairs._BLOCK", 12 * atoms * rows)
        return jax.jit(lambda: results())()

    unlimited = limited(1000, 1000)
    for left, right in zip(limited(150, 16), unlimited, strict=True):
        close(left, right, 1e-10)
