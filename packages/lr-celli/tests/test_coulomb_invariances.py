"""What must change nothing: frames, order, padding, the choice of the cell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lr_celli import Ewald, coulomb_matrix

OPEN_AND_TRICLINIC = pytest.mark.parametrize(
    "cell", ["open", "triclinic"], indirect=True
)


def close(a, b, atol=1e-9):
    """Each side keeps 1e-11 in units of 14.4 eV/e²."""
    np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def turn(improper):
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    flipped = np.linalg.det(axes) < 0
    return jnp.asarray(axes if flipped == improper else -axes)


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
def test_rigid_motions(matrix, structure, cell, improper):
    r, sigma = structure()
    axes = turn(improper)
    turned = None if cell is None else cell @ axes
    close(matrix(r @ axes + 13.7, sigma, turned), matrix(r, sigma, cell))


def test_order_of_atoms(matrix, structure, cell):
    r, sigma = structure()
    order = np.random.default_rng(2).permutation(6)
    found = matrix(r[order], sigma[order], cell)
    close(found, matrix(r, sigma, cell)[order][:, order])


def test_wrapping_by_lattice_vectors(matrix, structure, periodic):
    r, sigma = structure()
    whole = np.random.default_rng(4).integers(-3, 4, (6, 3)).astype(float)
    close(matrix(r + whole @ periodic, sigma, periodic), matrix(r, sigma, periodic))


def test_another_cell_of_the_same_lattice(matrix, structure, periodic):
    r, sigma = structure()
    unimodular = jnp.array([[1.0, 1, 0], [0, 1, 0], [-1, 0, 1]])
    for other in (unimodular @ periodic, periodic[::-1], -periodic):
        close(matrix(r, sigma, other), matrix(r, sigma, periodic))


def test_a_supercell_splits_every_element(matrix, structure, periodic):
    r, sigma = structure(3)
    twice = periodic * jnp.array([[2.0], [1.0], [1.0]])
    images = jnp.concatenate([r, r + periodic[0]])
    double = matrix(images, jnp.tile(sigma, 2), twice)
    close(double[:3, :3] + double[:3, 3:], matrix(r, sigma, periodic))


def test_padding_is_inert_and_zero(matrix, structure, cell):
    r, sigma = structure()
    padded = jnp.concatenate([r[:4], r[:1], jnp.full((1, 3), jnp.nan)])
    mask = jnp.arange(6) < 4
    widths = sigma.at[4].set(0.0).at[5].set(-1.0)
    found = matrix(padded, widths, cell, mask=mask)
    close(found[:4, :4], matrix(r, sigma, cell)[:4, :4])
    assert not jnp.any(found[4:]) and not jnp.any(found[:, 4:])


def test_a_batch_of_unequal_cells_is_vmap_of_singles(matrix, structure, triclinic):
    cells = jnp.stack([triclinic, jnp.diag(jnp.array([4.0, 5.0, 19.0]))])
    split = Ewald.for_cells(cells, tolerance=1e-10)
    counts = split.image_valid.sum(1), split.valid.sum(1)
    assert all(n[0] != n[1] for n in counts)
    parts = [structure(seed=s) for s in range(2)]
    r, sigma = (jnp.stack(x) for x in zip(*parts, strict=True))
    batch = jax.jit(jax.vmap(lambda r, s, c, e: coulomb_matrix(r, s, c, ewald=e)))
    found = batch(r, sigma, cells, split)
    for i in range(2):
        close(found[i], matrix(r[i], sigma[i], cells[i]), atol=2e-8)


@OPEN_AND_TRICLINIC
def test_derivatives_to_second_order(structure, cell, check_derivatives):
    """With two atoms in one place, and padding in the same."""
    r, sigma = structure()
    r = r.at[1].set(r[0]).at[4:].set(r[0])
    mask = jnp.arange(6) < 4
    options = {"margin": 0.1, "smear": 1.0, "tolerance": 1e-8}
    split = None if cell is None else Ewald.for_cells(cell, **options)
    weights = jnp.asarray(np.random.default_rng(5).normal(size=(6, 6)))

    def value(r, sigma, strain):
        deform = jnp.eye(3) + strain
        lattice = None if cell is None else cell @ deform
        found = coulomb_matrix(r @ deform, sigma, lattice, ewald=split, mask=mask)
        return jnp.sum(weights * found)

    strain = jnp.array([[0.01, 0.02, 0], [0, 0.01, 0], [0, 0, -0.01]])
    slopes = check_derivatives(value, r, sigma, strain)
    for slope in slopes[:2]:
        assert jnp.all(slope[:4] != 0) and not jnp.any(slope[4:])
