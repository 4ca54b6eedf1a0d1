"""Invariances: rotation, permutation, padding, choice of the unit cell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_les import KGrid, energy


def close(a, b, rtol=1e-10):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.max(np.abs(b)))


def orthogonal_matrix(improper):
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    flipped = np.linalg.det(axes) < 0
    return jnp.asarray(axes if flipped == improper else -axes)


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
def test_energy_is_invariant_under_rigid_motions(evaluate, structure, cell, improper):
    q, r = structure()
    axes = orthogonal_matrix(improper)
    moved = r @ axes + jnp.array([1.0, -2.0, 30.5])
    rotated = None if cell is None else cell @ axes
    close(evaluate(q, moved, rotated), evaluate(q, r, cell))


def test_the_grid_of_a_cell_covers_the_rotated_cell(evaluate, structure, triclinic):
    q, r = structure()
    axes = orthogonal_matrix(True)
    plan = KGrid.for_structures(triclinic, r)
    assert plan.covers(triclinic @ axes, r)
    close(evaluate(q, r @ axes, triclinic @ axes, plan=plan), evaluate(q, r, triclinic))


def test_forces_rotate_with_the_structure(structure, cell):
    q, r = structure()
    axes = orthogonal_matrix(False)
    plan = KGrid.for_structures(cell, r)

    @jax.jit
    def forces(r, cell):
        return -jax.grad(lambda r: jnp.sum(energy(q, r, cell, plan=plan)))(r)

    rotated = None if cell is None else cell @ axes
    close(forces(r @ axes, rotated), forces(r, cell) @ axes)
    assert jnp.max(jnp.abs(jnp.sum(forces(r, cell), axis=0))) < 1e-10


def test_energies_are_equivariant_under_permutations(evaluate, structure, cell):
    q, r = structure()
    order = np.random.default_rng(2).permutation(len(q))
    close(evaluate(q[order], r[order], cell), evaluate(q, r, cell)[order])


@pytest.mark.parametrize("neutralize", [False, True])
def test_padding_has_no_effect_and_zero_energy(evaluate, structure, cell, neutralize):
    q, r = structure()
    junk_q, junk_r = structure(3, seed=3)
    junk_r = junk_r.at[1].set(r[0]).at[2].set(1e6)
    mask = jnp.arange(9) < 6
    unpadded = evaluate(q, r, cell, neutralize=neutralize)
    both = jnp.concatenate([q, 100 * junk_q]), jnp.concatenate([r, junk_r])
    padded = evaluate(*both, cell, mask=mask, neutralize=neutralize)
    close(padded[:6], unpadded)
    assert jnp.all(padded[6:] == 0)


def test_energy_is_invariant_under_wrapping(evaluate, structure, periodic):
    q, r = structure()
    shifts = np.random.default_rng(4).integers(-3, 4, (6, 3)).astype(float)
    close(evaluate(q, r + shifts @ periodic, periodic), evaluate(q, r, periodic))


def test_energy_is_independent_of_the_unit_cell(evaluate, structure, periodic):
    q, r = structure()
    unimodular = jnp.array([[1.0, 1, 0], [0, 1, 0], [-1, 0, 1]])
    close(evaluate(q, r, unimodular @ periodic), evaluate(q, r, periodic))


def test_energy_is_independent_of_handedness(evaluate, structure, triclinic):
    q, r = structure()
    for other in (triclinic[::-1], -triclinic):
        close(evaluate(q, r, other), evaluate(q, r, triclinic))


@pytest.mark.parametrize("remove_self", [True, False])
def test_supercell(evaluate, structure, periodic, remove_self):
    q, r = structure()
    twice = periodic * jnp.array([[2.0], [1.0], [1.0]])
    images = jnp.concatenate([r, r + periodic[0]])
    single = evaluate(q, r, periodic, remove_self=remove_self)
    double = evaluate(jnp.tile(q, (2, 1)), images, twice, remove_self=remove_self)
    close(double, jnp.tile(single, 2))


def test_batch_is_vmap_of_singles(structure, evaluate):
    cells = jnp.array([np.diag([6.0, 7, 5]), np.diag([4.0, 5, 9]), np.eye(3)])
    cells = cells.at[1, 1, 0].set(1.3)
    masks = jnp.array([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    parts = [structure(seed=s) for s in range(3)]
    q, r = (jnp.stack(x) for x in zip(*parts, strict=True))
    plan = KGrid.for_structures(cells, r)
    assert plan.valid.sum(axis=1)[0] != plan.valid.sum(axis=1)[1]

    def total(q, r, cells):
        return jnp.sum(batch(q, r, cells) ** 2)

    def batch(q, r, cells):
        return jax.vmap(lambda *a: energy(*a[:3], plan=a[3], mask=a[4]))(
            q, r, cells, plan, masks
        )

    energies = jax.jit(batch)(q, r, cells)
    for i in range(2):
        close(energies[i], evaluate(q[i], r[i], cells[i], mask=masks[i]))
    assert jnp.all(energies[2] == 0)
    grads = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(q, r, cells)
    assert all(jnp.all(jnp.isfinite(g)) and jnp.all(g[2] == 0) for g in grads)
    assert all(jnp.all(g[~masks] == 0) for g in grads[:2])


def test_channels_add_and_the_sign_of_charges_is_arbitrary(evaluate, structure, cell):
    q, r = structure()
    by_channel = [evaluate(q[:, c], r, cell) for c in range(2)]
    close(evaluate(q, r, cell), by_channel[0] + by_channel[1])
    close(evaluate(-q, r, cell), evaluate(q, r, cell))


def test_neutralize_subtracts_the_mean(evaluate, structure, cell):
    q, r = structure()
    close(evaluate(q, r, cell, neutralize=True), evaluate(q - q.mean(axis=0), r, cell))


def test_distant_fragments_interact_by_their_charges(evaluate, structure):
    q, r = structure(channels=1)
    separated = jnp.where(jnp.arange(6)[:, None] < 3, r, r + jnp.array([5e3, 0, 0]))
    fragments = jnp.sum(evaluate(q[:3], r[:3])) + jnp.sum(evaluate(q[3:], r[3:]))
    expected = 14.399645 * jnp.sum(q[:3]) * jnp.sum(q[3:]) / 5e3
    interaction = jnp.sum(evaluate(q, separated)) - fragments
    assert jnp.abs(interaction - expected) < 2e-3 * jnp.abs(expected)
