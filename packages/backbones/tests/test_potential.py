import dataclasses

import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.spatial.transform import Rotation

close = lambda a, b, tol=1e-10: np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


def moved(s, positions=None, cell=None):
    return dataclasses.replace(
        s,
        positions=s.positions if positions is None else positions,
        cell=s.cell if cell is None else cell,
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("periodic", [True, False])
def test_rotation_reflection_and_translation(
    potential, sign, periodic, structure, predict
):
    s = structure(3, periodic=periodic)
    q = sign * Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    cell = None if s.cell is None else s.cell @ q.T
    a = predict(potential, s)
    b = predict(potential, moved(s, s.positions @ q.T + [1.0, -2.0, 0.5], cell))
    close(a.energies, b.energies)
    close(a.charges, b.charges)
    close(a.forces @ q.T, b.forces)
    if periodic:
        full = a.stress[0][np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])]
        turned = (q @ full @ q.T)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        close(turned, b.stress[0])


def test_order_of_atoms_is_irrelevant(potential, structure, predict):
    s = structure(4)
    order = np.random.default_rng(0).permutation(len(s))
    shuffled = dataclasses.replace(
        s, numbers=s.numbers[order], positions=s.positions[order]
    )
    a, b = predict(potential, s), predict(potential, shuffled)
    close(a.energies[0, order], b.energies[0])
    close(a.forces[0, order], b.forces[0])


def test_batch_is_its_structures_one_by_one(potential, structure, predict):
    parts = [structure(1, 4), structure(2, 8), structure(5, 6)]
    together = predict(potential, *parts)
    for g, part in enumerate(parts):
        alone = predict(potential, part)
        n = len(part)
        close(alone.energy[0], together.energy[g])
        close(alone.forces[0], together.forces[g, :n])
        close(alone.stress[0], together.stress[g])
        close(alone.charges[0], together.charges[g, :n])


def test_padding_is_inert_and_zero(potential, structure):
    s = structure(2, 5)
    settings = {"cutoff": 4.0, "graphs": 1, "dtype": np.float64}
    (bucket,) = bb.pack([s], plan_for=potential.backbone.plan_for, **settings)
    roomy = dataclasses.replace(bucket, graphs=3, slots=14, edges=576)
    tight, loose = (eqx.filter_jit(potential)(b.batch([0])) for b in (bucket, roomy))
    close(tight.energies[0], loose.energies[0, :5])
    close(tight.forces[0], loose.forces[0, :5])
    close(tight.stress[0], loose.stress[0])
    close(tight.charges[0], loose.charges[0, :5])
    for leaf in (loose.energies, loose.forces, loose.charges):
        assert np.all(np.asarray(leaf)[0, 5:] == 0)
        assert np.all(np.asarray(leaf)[1:] == 0)


def test_wrapping_an_atom_changes_nothing(potential, structure, predict):
    s = structure(6)
    positions = s.positions.copy()
    positions[2] += s.cell[0] - 2 * s.cell[1]
    a, b = predict(potential, s), predict(potential, moved(s, positions))
    close(a.energies, b.energies)
    close(a.forces, b.forces)


@pytest.mark.parametrize("box", [3.2, 8.0])
def test_supercell_repeats_energies(box, structure, mace, predict):
    s = structure(7, atoms=3, box=box)
    twice = bb.Structure(
        np.tile(s.numbers, 2),
        np.concatenate([s.positions, s.positions + s.cell[0]]),
        s.cell * np.array([[2], [1], [1]]),
    )
    a, b = predict(mace(), s), predict(mace(), twice)
    close(np.tile(a.energies[0], 2), b.energies[0])
    close(a.stress[0], b.stress[0])


def test_forces_and_stress_are_finite_differences(potential, structure, predict):
    s = structure(8)
    out, h = predict(potential, s), 1e-5
    rng = np.random.default_rng(2)
    direction = rng.normal(size=s.positions.shape)
    energy = lambda s: float(predict(potential, s).energy[0])
    ahead = moved(s, s.positions + h * direction)
    behind = moved(s, s.positions - h * direction)
    slope = (energy(ahead) - energy(behind)) / (2 * h)
    close(slope, -np.sum(out.forces[0] * direction), 1e-7)

    strain = rng.normal(size=(3, 3))
    strain = (strain + strain.T) / 2
    stretched = lambda t: moved(
        s, s.positions @ (np.eye(3) + t * strain), s.cell @ (np.eye(3) + t * strain)
    )
    slope = (energy(stretched(h)) - energy(stretched(-h))) / (2 * h)
    full = out.stress[0][np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])]
    close(slope / abs(np.linalg.det(s.cell)), np.sum(full * strain), 1e-7)
    close(out.forces[0].sum(0), np.zeros(3))


@pytest.mark.parametrize(
    "potential", ["short", "degree 1 before block 1"], indirect=True
)
def test_forces_can_be_trained_on(potential, structure):
    (bucket,) = bb.pack([structure(1, 4)], cutoff=4.0, graphs=1, dtype=np.float64)
    batch = bucket.batch([0])

    @jax.jit
    def energy(positions):
        at = eqx.tree_at(lambda b: b.positions, batch, positions)
        energies, charges = potential.energies(at)
        return energies.sum() + (charges**2).sum()

    check_grads(energy, (batch.positions,), 2, ["rev"], atol=1e-4, rtol=1e-4)


def test_no_gradient_crosses_graphs(potential, structure):
    (bucket,) = bb.pack(
        [structure(1), structure(2)], cutoff=4.0, graphs=2, dtype=np.float64
    )
    batch = bucket.batch([0, 1])

    @jax.jit
    @jax.grad
    def slope(positions):
        at = eqx.tree_at(lambda b: b.positions, batch, positions)
        return potential.energies(at)[0][0].sum()

    found = slope(batch.positions)
    assert np.all(found[1] == 0)
    assert np.any(found[0] != 0)


def test_every_leaf_learns(potential, structure):
    parts = [structure(1), structure(2)]
    (bucket,) = bb.pack(parts, cutoff=4.0, graphs=2, dtype=np.float64)

    @eqx.filter_jit
    @eqx.filter_grad
    def slope(potential, batch):
        out = potential(batch)
        return jnp.sum(out.forces**2) + jnp.sum(out.energy**2) + jnp.sum(out.charges**2)

    for path, leaf in jax.tree.leaves_with_path(slope(potential, bucket.batch([0, 1]))):
        assert np.all(np.isfinite(leaf)), path
        if leaf.ndim > 0:
            assert np.any(leaf != 0), path


def test_energy_is_smooth_and_pairs_vanish_at_the_cutoff(mace, predict):
    potential = mace()
    pair = lambda r: bb.Structure(np.array([6, 8]), np.array([[0, 0, 0], [0, 0, r]]))
    lone = predict(potential, pair(20.0)).energy[0]
    inside = predict(potential, pair(4.0 - 1e-4))
    close(inside.energy[0], lone, 1e-8)
    assert np.abs(inside.forces).max() < 1e-5
    assert abs(predict(potential, pair(2.0)).energy[0] - lone) > 1e-4


def test_far_fragments_add_and_isolated_atoms_are_finite(structure, mace, predict):
    potential = mace()
    a, b = structure(1, periodic=False), structure(2, periodic=False)
    both = bb.Structure(
        np.concatenate([a.numbers, b.numbers]),
        np.concatenate([a.positions, b.positions + 50.0]),
    )
    close(
        predict(potential, both).energy[0],
        predict(potential, a).energy[0] + predict(potential, b).energy[0],
    )
    alone = predict(potential, bb.Structure(np.array([6]), np.zeros((1, 3))))
    close(alone.energy, [0.1])
    assert np.all(alone.forces == 0)


def test_single_precision_stays_single(mace, structure, predict):
    double = mace()
    single = jax.tree.map(lambda x: x.astype(np.float32), double)
    (bucket,) = bb.pack([structure(1)], cutoff=4.0, graphs=1)
    out = eqx.filter_jit(single)(bucket.batch([0]))
    assert out.energy.dtype == out.forces.dtype == out.stress.dtype == np.float32
    close(out.energies, predict(double, structure(1)).energies, 1e-5)
    close(out.forces, predict(double, structure(1)).forces, 1e-5)


@pytest.mark.parametrize("interactions", [1, 3])
def test_any_number_of_interactions(interactions, structure, mace, predict):
    size = bb.MACESize(
        channels=3, l_max=2, correlation=3, interactions=interactions, radial=(4,)
    )
    out = predict(mace(size), structure(1))
    close(out.forces[0].sum(0), np.zeros(3))
    assert out.energy[0] != 0


def test_parameters_are_counted(mace, with_layer):
    short, long = mace(), with_layer()
    assert bb.parameter_count(long) - bb.parameter_count(short) == 8


def test_reference_energies_and_unknown_elements(mace):
    potential = mace()
    assert potential.reference_energy(np.array([1, 1, 8])) == -5.0
    with pytest.raises(ValueError, match="does not know Zn; it was made for H, C, O"):
        potential.reference_energy(np.array([30]))
    with pytest.raises(ValueError, match="no energy for O"):
        bb.Potential(potential.backbone, {1: 0.0, 6: 0.0})


def test_sum_adds_and_no_long_range_does_nothing(Spread):
    layer = Spread(jnp.array([0.1, 0.2, -0.3, 0.4]))
    x, r = jr.normal(jr.key(0), (5, 4)), jr.normal(jr.key(1), (5, 3))
    mask = jnp.array([True] * 4 + [False])
    facts = {"species": jnp.ones(5, int), "total_charge": jnp.array(0.0)}
    one = layer(x, r, None, mask, **facts)
    both = bb.Sum((layer, bb.NoLongRange(), layer))
    for a, b in zip(one, both(x, r, None, mask, **facts), strict=True):
        close(2 * a, b)
    assert both.plan_for(None, r[None], mask[None]) == (None, None, None)
    assert isinstance(both, bb.LongRange)


def test_bad_models_are_refused(mace, Spread):
    weight = jnp.ones(4)
    with pytest.raises(ValueError, match="no hook 'middle'"):
        mace(long_range={"middle": Spread(weight)})
    with pytest.raises(ValueError, match="asks for degree 2"):
        mace(long_range={"block 1": Spread(weight, 2)})
    two = {"embedding": Spread(weight), "block 1": Spread(weight)}
    with pytest.raises(ValueError, match="which hook's charges"):
        mace(long_range=two)
    with pytest.raises(ValueError, match="layers of one degree"):
        bb.Sum((Spread(weight), Spread(weight, 1)))
    with pytest.raises(ValueError, match="`correlation` must be 1, 2 or 3"):
        mace(bb.MACESize(correlation=4))
    with pytest.raises(ValueError, match="must be positive, got 0"):
        bb.MACE((1,), cutoff=0.0, average_neighbours=1.0, key=jr.key(0))
    with pytest.raises(ValueError, match="`hidden_degree` lies between"):
        bb.MACESize(hidden_degree=4)
