"""Invariances of the Coulomb matrix: frame, order of atoms, padding, choice of cell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_celli import Ewald, coulomb_matrix

OPEN_AND_TRICLINIC = pytest.mark.parametrize(
    "cell", ["open", "triclinic"], indirect=True
)


def assert_close(a, b, atol=1e-9):
    """Both matrices have errors below 1e-11 in units of 14.4 eV/e²."""
    np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def orthogonal_matrix(improper):
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    return axes if (np.linalg.det(axes) < 0) == improper else -axes


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
def test_rigid_motions(matrix, structure, cell, improper):
    r, sigma = structure()
    axes = orthogonal_matrix(improper)
    rotated = None if cell is None else cell @ axes
    assert_close(matrix(r @ axes + 13.7, sigma, rotated), matrix(r, sigma, cell))


def test_order_of_atoms(matrix, structure, cell):
    r, sigma = structure()
    order = np.random.default_rng(2).permutation(6)
    permuted = matrix(r[order], sigma[order], cell)
    assert_close(permuted, matrix(r, sigma, cell)[order][:, order])


def test_wrapping_by_lattice_vectors(matrix, structure, periodic):
    r, sigma = structure()
    shifts = np.random.default_rng(4).integers(-3, 4, (6, 3)).astype(float)
    shifted = matrix(r + shifts @ periodic, sigma, periodic)
    assert_close(shifted, matrix(r, sigma, periodic))


def test_another_cell_of_the_same_lattice(matrix, structure, periodic):
    r, sigma = structure()
    unimodular = np.array([[1.0, 1, 0], [0, 1, 0], [-1, 0, 1]])
    for other in (unimodular @ periodic, periodic[::-1], -periodic):
        assert_close(matrix(r, sigma, other), matrix(r, sigma, periodic))


def test_elements_are_sums_over_elements_of_a_supercell(matrix, structure, periodic):
    r, sigma = structure(3)
    supercell = periodic * np.array([[2.0], [1.0], [1.0]])
    images = np.concatenate([r, r + periodic[0]])
    double = matrix(images, np.tile(sigma, 2), supercell)
    assert_close(double[:3, :3] + double[:3, 3:], matrix(r, sigma, periodic))


def test_padding_is_inert_and_zero(matrix, structure, cell):
    r, sigma = structure()
    padded = np.concatenate([r[:4], r[:1], np.full((1, 3), np.nan)])
    mask = np.arange(6) < 4
    widths = np.concatenate([sigma[:4], [0.0, -1.0]])
    actual = matrix(padded, widths, cell, mask=mask)
    assert_close(actual[:4, :4], matrix(r, sigma, cell)[:4, :4])
    assert not np.any(actual[4:]) and not np.any(actual[:, 4:])


def test_a_batch_of_unequal_cells_is_vmap_of_singles(matrix, structure, triclinic):
    cells = np.stack([triclinic, np.diag([4.0, 5.0, 19.0])])
    parts = [structure(seed=s) for s in range(2)]
    r, sigma = (np.stack(x) for x in zip(*parts, strict=True))
    plan = Ewald.for_structures(cells, r, tolerance=1e-10)
    counts = (np.asarray(valid).sum(1) for valid in (plan.image_valid, plan.valid))
    assert all(n[0] != n[1] for n in counts)
    batch = jax.jit(jax.vmap(lambda r, s, c, p: coulomb_matrix(s, r, c, plan=p)))
    actual = np.asarray(batch(r, sigma, cells, plan))
    for i in range(2):
        assert_close(actual[i], matrix(r[i], sigma[i], cells[i]), atol=2e-8)


@OPEN_AND_TRICLINIC
def test_derivatives_to_second_order(structure, cell, check_derivatives):
    """With two coincident atoms, and padding at the same position."""
    r, sigma = structure()
    r[1] = r[4:] = r[0]
    mask = jnp.asarray(np.arange(6) < 4)
    options = {"margin": 0.1, "smearing": 1.0, "tolerance": 1e-8}
    plan = Ewald.for_structures(cell, r, **options)
    weights = np.random.default_rng(5).normal(size=(6, 6))

    def value(r, sigma, strain):
        deformation = jnp.eye(3) + strain
        strained = None if cell is None else cell @ deformation
        arguments = sigma, r @ deformation, strained
        return jnp.sum(weights * coulomb_matrix(*arguments, plan=plan, mask=mask))

    strain = np.array([[0.01, 0.02, 0], [0, 0.01, 0], [0, 0, -0.01]])
    gradients = check_derivatives(value, r, sigma, strain)
    for gradient in gradients[:2]:
        assert np.all(gradient[:4] != 0) and not np.any(gradient[4:])
