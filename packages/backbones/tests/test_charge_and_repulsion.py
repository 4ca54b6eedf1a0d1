"""`TotalCharge` and the ZBL repulsion."""

import dataclasses

import backbones as bb
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from backbones.testing import predict, sample_structure

close = lambda a, b, tol=1e-10: np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


def test_energies_of_ions_differ_only_with_a_charge_embedding(kind, model, energies_of):
    without = model(kind)
    width = without.backbone.size.widths["embedding"]
    layer = bb.TotalCharge(width, spins=3, key=jr.key(3))
    charged = model(kind, long_range={"embedding": layer})
    s = sample_structure(without, 0, periodic=False)
    ions = [dataclasses.replace(s, total_charge=q) for q in (-1.0, 0.0, 1.0)]
    same = [energies_of(without, ion).sum() for ion in ions]
    assert same[0] == same[1] == same[2]
    different = [energies_of(charged, ion).sum() for ion in ions]
    assert min(abs(np.diff(different))) > 1e-6
    spins = [dataclasses.replace(s, spin=spin) for spin in (0, 1, 3)]
    assert same[1] == energies_of(without, spins[1]).sum()
    assert min(abs(np.diff([energies_of(charged, x).sum() for x in spins]))) > 1e-6


def test_the_update_is_a_linear_map_of_embedding_and_charge():
    layer = bb.TotalCharge(4, charges=(-1, 2), spins=2, key=jr.key(0))
    h, mask = jr.normal(jr.key(1), (3, 4)), jnp.array([True, True, False])
    properties = {"total_charge": jnp.array(2.0), "spin": jnp.array(0)}
    update, energies, charges = layer(h, jnp.zeros((3, 3)), None, mask, **properties)
    expected = (h + layer.charge[3] + layer.spin[0]) @ layer.project.weight / 2
    close(update[:2], expected[:2])
    assert np.all(update[2] == 0)
    assert not np.any(energies) and not np.any(charges)


@pytest.mark.parametrize(("charge", "spin"), [(3.0, 0), (-2.0, 0), (0.5, 0), (0.0, 3)])
def test_unsupported_charges_and_spins_give_nan(charge, spin):
    layer = bb.TotalCharge(4, charges=(-1, 2), spins=2, key=jr.key(0))
    h, mask = jnp.ones((2, 4)), jnp.array([True, False])
    properties = {"total_charge": jnp.array(charge), "spin": jnp.array(spin)}
    update = layer(h, jnp.zeros((2, 3)), None, mask, **properties)[0]
    assert np.all(np.isnan(update[0]))
    assert np.all(update[1] == 0)


def test_invalid_charges_and_missing_spins_raise():
    with pytest.raises(ValueError, match="the lowest and the highest"):
        bb.TotalCharge(4, charges=(2, 1), key=jr.key(0))
    layer = bb.TotalCharge(4, spins=1, key=jr.key(0))
    mask = jnp.ones(2, bool)
    with pytest.raises(ValueError, match="pass `spin`, 0 if"):
        layer(
            jnp.ones((2, 4)), jnp.zeros((2, 3)), None, mask, total_charge=jnp.array(0.0)
        )


def test_zbl_at_short_and_intermediate_distance():
    z = jnp.array([8.0])
    # The prefactors sum to 1.00002: the limit is the bare Coulomb repulsion.
    coulomb = 14.399645 * 64 / 1e-6
    close(bb.screened_repulsion(jnp.array([1e-6]), (z, z)), [coulomb], 1e-4)
    # Two hydrogens: a = 0.4685 / 2 Å.
    one = jnp.array([1.0])
    x = 0.5 / 0.23425
    phi = (
        0.18175 * np.exp(-3.1998 * x)
        + 0.50986 * np.exp(-0.94229 * x)
        + 0.28022 * np.exp(-0.4029 * x)
        + 0.02817 * np.exp(-0.20162 * x)
    )
    close(bb.screened_repulsion(jnp.array([0.5]), (one, one)), [28.79929 * phi])


def test_repulsion_vanishes_beyond_bond_lengths(mace, predict):
    plain = mace()
    repulsive = bb.Potential(
        plain.backbone, dict(plain.atomic_energies), scale=0.7, shift=0.1, zbl=True
    )
    pair = lambda r: bb.Structure(np.array([6, 8]), np.array([[0, 0, 0], [0, 0, r]]))
    bond_length = 0.76 + 0.66  # covalent radii of C and O
    extra = lambda r: float(
        predict(repulsive, pair(r)).energy[0] - predict(plain, pair(r)).energy[0]
    )
    assert extra(bond_length + 1e-6) == 0
    assert 0 < extra(bond_length - 0.03) < 1e-2
    z = jnp.array([6.0]), jnp.array([8.0])
    r = 0.2 * bond_length
    envelope = 1 - 28 * 0.2**6 + 48 * 0.2**7 - 21 * 0.2**8
    close(extra(r), bb.screened_repulsion(jnp.array([r]), z)[0] * envelope, 1e-9)


def test_repulsion_has_finite_forces_with_padding(mace):
    plain = mace()
    repulsive = bb.Potential(plain.backbone, dict(plain.atomic_energies), zbl=True)
    close_pair = bb.Structure(np.array([1, 8]), np.array([[0, 0, 0], [0, 0, 0.3]]))
    out = predict(repulsive, close_pair)
    assert np.all(np.isfinite(out.forces))
    assert out.forces[0, 1, 2] > 10
