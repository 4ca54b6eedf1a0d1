"""Reference values: another code, direct sums, Madelung constants, large cells."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jaxpme.kspace import generate_kvectors, get_reciprocal
from jaxpme.potentials import potential
from jaxpme.solvers import ewald
from lr_les import COULOMB_CONSTANT, Coulomb, KGrid, energy

ORACLE = json.loads((Path(__file__).parent / "data" / "les.json").read_text())
CASES = [case for case in ORACLE["cases"] if case["mode"] == "q"]
PUBLISHED = Coulomb(90.4756 / (2 * math.pi))
NAMES = "{cell} dl={dl} self={remove_self} neutral={neutral}"


def oracle_inputs(case):
    frame = ORACLE["cells"]["ortho" if case["cell"] == "isolated" else case["cell"]]
    q = np.array(ORACLE["q"])
    q = q - q.mean() if case["neutral"] else q
    cell = None if case["cell"] == "isolated" else jnp.array(frame)
    r = jnp.array(ORACLE["frac"]) @ jnp.array(frame)
    plan = KGrid.for_structures(cell, r, dl=case["dl"], margin=0.05)
    return jnp.asarray(q), r, cell, plan


@pytest.mark.parametrize("case", CASES, ids=[NAMES.format(**c) for c in CASES])
def test_energies_and_forces_of_another_implementation(case):
    q, r, cell, plan = oracle_inputs(case)

    @jax.jit
    @jax.value_and_grad
    def total(r):
        energies = energy(
            q,
            r,
            cell,
            sigma=case["sigma"],
            plan=plan,
            remove_self=case["remove_self"],
            kernel=PUBLISHED,
        )
        return jnp.sum(energies)

    value, gradient = total(r)
    np.testing.assert_allclose(value, case["E"], rtol=1e-9)
    np.testing.assert_allclose(-gradient, np.array(case["F"]), rtol=1e-9, atol=1e-9)


def test_strain_derivative_of_another_implementation():
    case = {"cell": "ortho", "neutral": True, "dl": 1.0}
    q, r, cell, plan = oracle_inputs(case)

    @jax.jit
    @jax.grad
    def derivative(strain):
        deform = jnp.eye(3) + strain
        energies = energy(q, r @ deform, cell @ deform, plan=plan, kernel=PUBLISHED)
        return jnp.sum(energies)

    expected = np.array(ORACLE["dE_dstrain"]["ortho"])
    np.testing.assert_allclose(derivative(jnp.zeros((3, 3))), expected, atol=1e-9)


def direct_sum(charges, positions, cell, sigma, largest, cutoff=math.inf):
    """The sum of the formula in NumPy: integers up to `largest`, |k| up to `cutoff`."""
    volume = abs(np.linalg.det(cell))
    total = 0.0
    for n in np.ndindex(*(2 * largest + 1,) * 3):
        n = np.array(n) - largest
        k = 2 * np.pi * np.linalg.solve(cell, n)
        if 0 < k @ k <= cutoff**2 * (1 + 1e-9):
            waves = np.exp(1j * positions @ k)
            for q in charges.T:
                total += (
                    np.exp(-(sigma**2) * (k @ k) / 2) / (k @ k) * abs(waves @ q) ** 2
                )
    total *= 2 * np.pi * COULOMB_CONSTANT / volume
    return total - COULOMB_CONSTANT * np.sum(charges**2) / (
        sigma * math.sqrt(2 * math.pi)
    )


@pytest.mark.parametrize("sigma", [1.0, 1.4])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_smooth_window_keeps_its_tolerance(
    evaluate, structure, periodic, sigma, tolerance
):
    q, r = structure()
    expected = direct_sum(*map(np.asarray, (q, r, periodic)), sigma, 9)
    result = jnp.sum(evaluate(q, r, periodic, sigma=sigma, tolerance=tolerance))
    scale = COULOMB_CONSTANT * jnp.sum(q**2) / (sigma * math.sqrt(2 * math.pi))
    assert abs(result - expected) < tolerance * scale


@pytest.mark.parametrize("dl", [2.0, 1.3])
def test_published_sharp_cutoff_in_any_cell(evaluate, structure, periodic, dl):
    """Vectors exactly at the cutoff are included; the orthorhombic cell has some."""
    q, r = structure()
    parts = *map(np.asarray, (q, r, periodic)), 1.0, 6
    expected = direct_sum(*parts, cutoff=2 * math.pi / dl)
    plan = KGrid.for_structures(periodic, r, dl=dl)
    result = jnp.sum(evaluate(q, r, periodic, plan=plan))
    np.testing.assert_allclose(result, expected, rtol=1e-10)
    assert abs(direct_sum(*parts) - expected) > 1e-6 * abs(expected)


def test_energy_of_jax_pme_with_its_background(evaluate, structure, triclinic):
    q, r = structure(channels=1)
    sigma, volume = 1.1, jnp.abs(jnp.linalg.det(triclinic))

    @jax.jit
    def energy_of_jax_pme(q, r):
        k = generate_kvectors(get_reciprocal(triclinic), (25, 25, 25), dtype=r.dtype)
        half = ewald(potential()).kspace(
            jnp.array(sigma), q[:, 0], k, r, volume, triclinic, np.array([True] * 3)
        )
        background = math.pi * sigma**2 * jnp.sum(q) ** 2 / volume
        return COULOMB_CONSTANT * (jnp.sum(q[:, 0] * half) + background)

    expected = energy_of_jax_pme(q, r)
    result = jnp.sum(evaluate(q, r, triclinic, sigma=sigma, tolerance=1e-14))
    np.testing.assert_allclose(result, expected, rtol=1e-12)


FACES = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
# Lattice points, shifts of the anions, charge of the cation, nearest distance, in units
# of the cubic cell; tabulated Madelung constant for that distance and one formula unit.
CRYSTALS = {
    "rock salt": (FACES, [0.5], 1, 0.5, 1.7475645946331822),
    "caesium chloride": ([[0, 0, 0]], [0.5], 1, 0.75**0.5, 1.76267477307099),
    "zinc blende": (FACES, [0.25], 1, 0.1875**0.5, 1.63805505338879),
    "fluorite": (FACES, [0.25, 0.75], 2, 0.1875**0.5, 5.03878487985698),
}


@pytest.mark.parametrize("crystal", CRYSTALS)
def test_madelung_constants(evaluate, crystal):
    lattice, shifts, charge, nearest, constant = CRYSTALS[crystal]
    a, sigma, units = 3.0, 0.8, len(lattice)
    r = a * np.concatenate([np.array(lattice) + shift for shift in (0.0, *shifts)])
    q = np.repeat([float(charge), *[-1.0] * len(shifts)], units)
    smeared = evaluate(
        *map(jnp.asarray, (q, r, a * np.eye(3))), sigma=sigma, tolerance=1e-13
    )
    # Point charges: add the short-range energy that smearing removes from each pair.
    images = a * (np.array(list(np.ndindex(11, 11, 11))) - 5.0)
    distances = np.linalg.norm(r[:, None, None] - r[None, :, None] + images, axis=-1)
    distances = np.where(distances == 0, np.inf, distances)
    short = np.vectorize(math.erfc)(distances / (math.sqrt(2) * sigma)) / distances
    points = jnp.sum(smeared) + COULOMB_CONSTANT / 2 * np.einsum(
        "i,ijn,j->", q, short, q
    )
    madelung = -points / units * nearest * a / COULOMB_CONSTANT
    assert abs(madelung - constant) < 2e-11


def test_sum_over_images_within_a_large_sphere(evaluate, triclinic):
    """Without charge and dipole the sum over cells converges, about as R^-4."""
    rng = np.random.default_rng(6)
    half, sigma = rng.uniform(-2, 2, (4, 3)), 1.2
    q = np.tile(rng.normal(size=4), 2)
    q, r = q - q.mean(), np.concatenate([half, -half])
    images = (np.array(list(np.ndindex(55, 55, 55))) - 27.0) @ np.asarray(triclinic)
    images = images[np.linalg.norm(images, axis=1) < 130]
    expected = 0.0
    for i, j in np.ndindex(8, 8):
        distances = np.linalg.norm(r[i] - r[j] + images, axis=1)
        distances = distances[distances > 0]
        kernel = scipy.special.erf(distances / (math.sqrt(2) * sigma)) / distances
        expected += COULOMB_CONSTANT / 2 * q[i] * q[j] * np.sum(kernel)
    result = jnp.sum(evaluate(jnp.asarray(q), jnp.asarray(r), triclinic, sigma=sigma))
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize(("neutral", "power"), [(True, 5), (False, 3)])
def test_growing_cell_becomes_open(evaluate, structure, neutral, power):
    q, r = structure(4, channels=1)
    r = r / 4
    q = q - q.mean() if neutral else q
    accuracy = {"sigma": 2.0, "tolerance": 1e-9}
    charge, dipole = jnp.sum(q), jnp.sum(q * r, axis=0)

    def difference(length):
        result = jnp.sum(evaluate(q, r, length * jnp.eye(3), **accuracy))
        images = 2 * math.pi / (3 * length**3) * jnp.sum(dipole**2) * neutral
        images = images + 2.837297 * charge**2 / (2 * length)
        return result + COULOMB_CONSTANT * images - jnp.sum(evaluate(q, r, **accuracy))

    ratio = difference(20.0) / difference(30.0)
    assert abs(ratio / 1.5**power - 1) < 0.05


def test_open_form_is_the_double_sum(structure):
    q, r = map(np.asarray, structure())
    expected = np.zeros(len(q))
    for i in range(len(q)):
        for j in range(len(q)):
            d = np.linalg.norm(r[i] - r[j])
            if i != j:
                expected[i] += (
                    COULOMB_CONSTANT / 2 * q[i] @ q[j] * math.erf(d / 1.3 / 2**0.5) / d
                )
    result = energy(jnp.asarray(q), jnp.asarray(r), sigma=1.3)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)
