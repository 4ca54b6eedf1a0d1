"""Latent dipoles and quadrupoles, potential and field."""

import functools as ft
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from lr_les import energy, k_grid, potential_and_field

ORACLE = json.loads((Path(__file__).parent / "data" / "les.json").read_text())
PUBLISHED = 90.4756 / (2 * math.pi)
MODES = [(mode, neutral) for mode in ("qu", "quQ") for neutral in (True, False)]


def oracle_moments(mode, neutral):
    q = np.array(ORACLE["q"])
    q = jnp.asarray(q - q.mean() if neutral else q)
    u = jnp.array(ORACLE["u"])
    return q, u, jnp.array(ORACLE["Q_traceless"]) if mode == "quQ" else None


@ft.partial(jax.jit, static_argnames=("sigma", "remove_self"))
@ft.partial(jax.value_and_grad, argnums=0)
def published(r, q, u, moments, cell, grid, sigma, remove_self):
    energies = energy(
        q,
        r,
        cell,
        dipoles=u,
        quadrupoles=moments,
        sigma=sigma,
        grid=grid,
        remove_self=remove_self,
        coulomb_constant=PUBLISHED,
    )
    return jnp.sum(energies)


@pytest.mark.parametrize(("mode", "neutral"), MODES)
@pytest.mark.parametrize("boundary", ["isolated", "ortho"])
def test_energies_and_forces_of_another_implementation(mode, neutral, boundary):
    cases = [
        case
        for case in ORACLE["cases"]
        if (case["mode"], case["neutral"], case["cell"]) == (mode, neutral, boundary)
    ]
    assert len(cases) == (2 if boundary == "isolated" else 6)
    for case in cases:
        r = jnp.array(ORACLE["frac"]) @ jnp.array(ORACLE["cells"]["ortho"])
        cell = grid = None
        if boundary == "ortho":
            cell = jnp.array(ORACLE["cells"]["ortho"])
            grid = k_grid(cell, dl=case["dl"], power=4)
        moments = oracle_moments(mode, neutral)
        found = published(r, *moments, cell, grid, case["sigma"], case["remove_self"])
        np.testing.assert_allclose(found[0], case["E"], rtol=1e-9)
        np.testing.assert_allclose(-found[1], np.array(case["F"]), atol=1e-9)


@pytest.fixture
def moments():
    rng = np.random.default_rng(5)
    shapes = (6, 2), (6, 3), (6, 2, 3), (6, 2, 3, 3)
    q, r, u, second = (jnp.asarray(rng.normal(size=shape)) for shape in shapes)
    return q, 3 * r, u, second


@ft.partial(jax.jit, static_argnames="remove_self")
def with_moments(q, r, u, second, cell, grid, remove_self=True):
    return energy(
        q, r, cell, dipoles=u, quadrupoles=second, grid=grid, remove_self=remove_self
    )


def clusters(q, r, u, second, step):
    """The same moments as point charges: second differences on a small cross."""
    symmetric = 0.5 * (second + jnp.swapaxes(second, -1, -2))
    charges, places = [q], [r]
    for a in range(3):
        for sign in (1, -1):
            shift = sign * step * jnp.eye(3)[a]
            charges.append(
                0.5 * sign * u[..., a] / step + 0.5 * symmetric[..., a, a] / step**2
            )
            places.append(r + shift)
        charges[0] = charges[0] - symmetric[..., a, a] / step**2
        for b in range(a):
            for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                charges.append(s * t * symmetric[..., a, b] / (4 * step**2))
                places.append(r + step * (s * jnp.eye(3)[a] + t * jnp.eye(3)[b]))
    return jnp.concatenate(charges), jnp.concatenate(places)


@pytest.mark.parametrize("cell", ["open", "triclinic"], indirect=True)
def test_moments_are_the_limit_of_charges_close_together(moments, cell):
    q, r, u, second = moments
    second = second - jnp.trace(second, axis1=-2, axis2=-1)[..., None, None] * (
        jnp.eye(3) / 3
    )
    grid = None if cell is None else k_grid(cell, tolerance=1e-10, power=4)
    exact = jnp.sum(with_moments(q, r, u, second, cell, grid, remove_self=False))

    @jax.jit
    def of_charges(step):
        charges, places = clusters(q, r, u, second, step)
        return jnp.sum(energy(charges, places, cell, grid=grid, remove_self=False))

    errors = [of_charges(step) - exact for step in (0.08, 0.04)]
    assert abs(errors[0] / errors[1] - 4) < 0.1  # the differences are of second order
    assert abs((4 * errors[1] - errors[0]) / 3) < 2e-5 * abs(exact)


def test_only_the_symmetric_traceless_part_acts(moments, triclinic):
    q, r, u, second = moments
    grid = k_grid(triclinic, power=4)
    twisted = jnp.swapaxes(second, -1, -2) + 3 * jnp.eye(3)
    for cell, own in ((None, None), (triclinic, grid)):
        np.testing.assert_allclose(
            with_moments(q, r, u, second, cell, own),
            with_moments(q, r, u, twisted, cell, own),
            rtol=1e-10,
        )


def test_moments_turn_with_the_frame(moments, cell):
    q, r, u, second = moments
    axes = jnp.asarray(np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0])
    grid = None if cell is None else k_grid(cell, power=4)
    turned = None if cell is None else cell @ axes
    rotated = jnp.einsum("xa,ncxy,yb->ncab", axes, second, axes)
    np.testing.assert_allclose(
        with_moments(q, r @ axes, u @ axes, rotated, turned, grid),
        with_moments(q, r, u, second, cell, grid),
        rtol=1e-9,
    )


@pytest.mark.parametrize("cell", ["open", "triclinic"], indirect=True)
def test_derivatives_to_second_order(moments, cell):
    q, r, u, second = (x[:3] for x in moments)
    r = r.at[1].set(r[0])
    grid = None if cell is None else k_grid(cell, tolerance=1e-2, power=4)

    @jax.jit
    def value(q, r, u, second):
        return jnp.sum(with_moments(q, r, u, second, cell, grid) * jnp.arange(1.0, 4))

    check_grads(value, (q, r, u, second), 2, ["rev"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("cell", ["open", "triclinic"], indirect=True)
def test_potential_and_field_are_those_of_a_probe(moments, cell):
    """A far weaker probe atom at the same place reads them off the energy."""
    q, r, u, second = moments
    grid = None if cell is None else k_grid(cell, power=4)
    everything = {"dipoles": u, "quadrupoles": second, "grid": grid}
    found = potential_and_field(q, r, cell, **everything, remove_self=False)

    @jax.jit
    @ft.partial(jax.grad, argnums=(0, 1))
    def probed(charge, place):
        """Derivatives of the energy by a probe's charge, and its force."""
        nothing = jnp.zeros((1, 2, 3))
        energies = energy(
            jnp.concatenate([q, charge[None]]),
            jnp.concatenate([r, place[None]]),
            cell,
            dipoles=jnp.concatenate([u, nothing]),
            quadrupoles=jnp.concatenate([second, jnp.zeros((1, 2, 3, 3))]),
            grid=grid,
        )
        return jnp.sum(energies)

    for i in range(2):
        by_charge, _ = probed(jnp.zeros(2), r[i])
        np.testing.assert_allclose(found[0][i], by_charge, rtol=1e-9)
        small = 1e-7
        for channel in range(2):
            force = -probed(small * jnp.eye(2)[channel], r[i])[1] / small
            np.testing.assert_allclose(found[1][i, channel], force, rtol=1e-5)


def test_own_moments_are_left_out(moments):
    q, r, u, second = (x[:1] for x in moments)
    potential, field = potential_and_field(q, r, dipoles=u, quadrupoles=second)
    assert jnp.max(jnp.abs(potential)) < 1e-12 and jnp.max(jnp.abs(field)) < 1e-12


def test_potential_and_field_keep_the_channels_and_the_padding(moments, triclinic):
    q, r, u, _ = moments
    grid, mask = k_grid(triclinic), jnp.arange(6) < 4
    both = potential_and_field(q, r, triclinic, grid=grid, mask=mask)
    single = potential_and_field(q[:4, 1], r[:4], triclinic, grid=grid)
    for whole, part in zip(both, single, strict=True):
        assert part.shape == (whole.shape[0] - 2, *whole.shape[2:])
        np.testing.assert_allclose(whole[:4, 1], part, rtol=1e-9)
        assert not jnp.any(whole[4:])


def test_grids_of_charges_are_refused_to_dipoles(moments, triclinic):
    q, r, u, _ = moments
    with pytest.raises(ValueError, match="powers of k up to 0.*pass `power=2`"):
        energy(q, r, triclinic, dipoles=u, grid=k_grid(triclinic))


def test_moments_of_other_shapes_are_refused(moments):
    q, r, u, second = moments
    with pytest.raises(
        ValueError, match=r"`dipoles` has the shape of `charges`.*\[6, 2"
    ):
        energy(q, r, dipoles=u[:, 0])
    with pytest.raises(ValueError, match=r"`quadrupoles` has .*\[6, 3, 3\], got"):
        energy(q[:, 0], r, quadrupoles=second)
