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
from lr_les import ChargeSystem, Coulomb, KGrid, Multipoles, energy

ORACLE = json.loads((Path(__file__).parent / "data" / "les.json").read_text())
PUBLISHED = Coulomb(90.4756 / (2 * math.pi))
MODES = [(mode, neutral) for mode in ("qu", "quQ") for neutral in (True, False)]


def oracle_moments(mode, neutral):
    q = np.array(ORACLE["q"])
    q = jnp.asarray(q - q.mean() if neutral else q)
    u = jnp.array(ORACLE["u"])
    return q, u, jnp.array(ORACLE["Q_traceless"]) if mode == "quQ" else None


@ft.partial(jax.jit, static_argnames=("sigma", "remove_self"))
@ft.partial(jax.value_and_grad, argnums=0)
def published(r, q, u, moments, cell, plan, sigma, remove_self):
    energies = energy(
        Multipoles(q, u, moments),
        r,
        cell,
        plan=plan,
        sigma=sigma,
        kernel=PUBLISHED,
        remove_self=remove_self,
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
        r = np.array(ORACLE["frac"]) @ np.array(ORACLE["cells"]["ortho"])
        r = jnp.asarray(r)
        cell = plan = None
        if boundary == "ortho":
            cell = jnp.array(ORACLE["cells"]["ortho"])
            plan = KGrid.for_structures(cell, r, dl=case["dl"], power=4)
        moments = oracle_moments(mode, neutral)
        options = case["sigma"], case["remove_self"]
        total, gradient = published(r, *moments, cell, plan, *options)
        np.testing.assert_allclose(total, case["E"], rtol=1e-9)
        np.testing.assert_allclose(
            -np.asarray(gradient), np.array(case["F"]), atol=1e-9
        )


@pytest.fixture
def moments():
    rng = np.random.default_rng(5)
    shapes = (6, 2), (6, 3), (6, 2, 3), (6, 2, 3, 3)
    q, r, u, second = (jnp.asarray(rng.normal(size=shape)) for shape in shapes)
    return q, 3 * r, u, second


@ft.partial(jax.jit, static_argnames="remove_self")
def with_moments(q, r, u, second, cell, plan, remove_self=True):
    moments = Multipoles(q, u, second)
    return energy(moments, r, cell, plan=plan, remove_self=remove_self)


@ft.partial(jax.jit, static_argnames="remove_self")
def potential_and_field(charges, r, cell=None, remove_self=True, **options):
    system = ChargeSystem(charges, r, cell, **options)
    return system.potential_and_field(remove_self=remove_self)


def clusters(q, r, u, second, step):
    """The multipoles as point charges: second differences with a small step."""
    symmetric = 0.5 * (second + jnp.swapaxes(second, -1, -2))
    charges, positions = [q], [r]
    for a in range(3):
        for sign in (1, -1):
            shift = sign * step * jnp.eye(3)[a]
            charges.append(
                0.5 * sign * u[..., a] / step + 0.5 * symmetric[..., a, a] / step**2
            )
            positions.append(r + shift)
        charges[0] = charges[0] - symmetric[..., a, a] / step**2
        for b in range(a):
            for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                charges.append(s * t * symmetric[..., a, b] / (4 * step**2))
                positions.append(r + step * (s * jnp.eye(3)[a] + t * jnp.eye(3)[b]))
    return jnp.concatenate(charges), jnp.concatenate(positions)


@pytest.mark.parametrize("cell", ["open", "triclinic"], indirect=True)
def test_moments_are_the_limit_of_charges_close_together(moments, cell):
    q, r, u, second = moments
    second = np.asarray(second)
    trace = np.trace(second, axis1=-2, axis2=-1)[..., None, None]
    second = jnp.asarray(second - trace * (np.eye(3) / 3))
    plan = KGrid.for_structures(cell, r, tolerance=1e-10, power=4)
    exact = jnp.sum(with_moments(q, r, u, second, cell, plan, remove_self=False))

    @jax.jit
    def of_charges(step):
        charges, positions = clusters(q, r, u, second, step)
        return jnp.sum(energy(charges, positions, cell, plan=plan, remove_self=False))

    exact = float(exact)
    errors = [float(of_charges(step)) - exact for step in (0.08, 0.04)]
    assert abs(errors[0] / errors[1] - 4) < 0.1  # second-order differences
    assert abs((4 * errors[1] - errors[0]) / 3) < 2e-5 * abs(exact)


def test_only_the_symmetric_traceless_part_contributes(moments, triclinic):
    q, r, u, second = moments
    plan = KGrid.for_structures(triclinic, r, power=4)
    changed = jnp.swapaxes(second, -1, -2) + 3 * jnp.eye(3)
    for cell, cell_plan in ((None, None), (triclinic, plan)):
        np.testing.assert_allclose(
            with_moments(q, r, u, second, cell, cell_plan),
            with_moments(q, r, u, changed, cell, cell_plan),
            rtol=1e-10,
        )


def test_moments_rotate_with_the_structure(moments, cell):
    q, r, u, second = moments
    axes = jnp.asarray(np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0])
    plan = KGrid.for_structures(cell, r, power=4)
    rotated_cell = None if cell is None else cell @ axes
    rotated = np.einsum("xa,ncxy,yb->ncab", axes, second, axes)
    np.testing.assert_allclose(
        with_moments(q, r @ axes, u @ axes, jnp.asarray(rotated), rotated_cell, plan),
        with_moments(q, r, u, second, cell, plan),
        rtol=1e-9,
    )


@pytest.mark.parametrize("cell", ["open", "triclinic"], indirect=True)
def test_derivatives_to_second_order(moments, cell):
    q, r, u, second = (x[:3] for x in moments)
    r = r.at[1].set(r[0])
    plan = KGrid.for_structures(cell, r, tolerance=1e-2, power=4)

    @jax.jit
    def value(q, r, u, second):
        return jnp.sum(with_moments(q, r, u, second, cell, plan) * jnp.arange(1.0, 4))

    check_grads(value, (q, r, u, second), 2, ["rev"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("cell", ["open", "triclinic"], indirect=True)
def test_potential_and_field_are_those_of_a_probe(moments, cell):
    """Compared with energy derivatives for a probe charge at the same position."""
    q, r, u, second = moments
    plan = KGrid.for_structures(cell, r, power=4)
    potential, field = potential_and_field(
        Multipoles(q, u, second), r, cell, plan=plan, remove_self=False
    )

    @jax.jit
    @ft.partial(jax.grad, argnums=(0, 1))
    def probed(charge, position):
        """Derivatives of the energy by the charge and the position of a probe."""
        no_dipole = jnp.zeros((1, 2, 3))
        with_probe = Multipoles(
            jnp.concatenate([q, charge[None]]),
            jnp.concatenate([u, no_dipole]),
            jnp.concatenate([second, jnp.zeros((1, 2, 3, 3))]),
        )
        positions = jnp.concatenate([r, position[None]])
        return jnp.sum(energy(with_probe, positions, cell, plan=plan))

    positions = np.asarray(r)
    for i in range(2):
        by_charge, _ = probed(jnp.zeros(2), positions[i])
        np.testing.assert_allclose(potential[i], by_charge, rtol=1e-9)
        small = 1e-7
        for channel in range(2):
            gradient = probed(small * np.eye(2)[channel], positions[i])[1]
            force = -np.asarray(gradient) / small
            np.testing.assert_allclose(field[i, channel], force, rtol=1e-5)


def test_the_self_interaction_is_left_out(moments):
    q, r, u, second = (x[:1] for x in moments)
    both = potential_and_field(Multipoles(q, u, second), r)
    potential, field = map(np.asarray, both)
    assert np.max(np.abs(potential)) < 1e-12 and np.max(np.abs(field)) < 1e-12


def test_potential_and_field_keep_the_channels_and_the_padding(moments, triclinic):
    q, r, u, _ = moments
    plan, mask = KGrid.for_structures(triclinic, r), jnp.arange(6) < 4
    padded = potential_and_field(q, r, triclinic, plan=plan, mask=mask)
    single = potential_and_field(q[:4, 1], r[:4], triclinic, plan=plan)
    for all_channels, channel in zip(map(np.asarray, padded), single, strict=True):
        assert channel.shape == (all_channels.shape[0] - 2, *all_channels.shape[2:])
        np.testing.assert_allclose(all_channels[:4, 1], channel, rtol=1e-9)
        assert not np.any(all_channels[4:])


def test_dipoles_with_a_plan_for_charges_raise_an_error(moments, triclinic):
    q, r, u, _ = moments
    with pytest.raises(ValueError, match="powers of k up to 0.*pass `power=2`"):
        energy(Multipoles(q, u), r, triclinic, plan=KGrid.for_structures(triclinic, r))


@pytest.mark.usefixtures("untyped")
def test_moments_of_wrong_shape_raise_errors(moments):
    q, r, u, second = moments
    with pytest.raises(
        ValueError, match=r"`dipoles` has the shape of `charges`.*\[6, 2"
    ):
        energy(Multipoles(q, u[:, 0]), r)
    with pytest.raises(ValueError, match=r"`quadrupoles` has .*\[6, 3, 3\], got"):
        energy(Multipoles(q[:, 0], quadrupoles=second), r)
