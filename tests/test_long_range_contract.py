"""Physics of models with every backbone and every long-range layer."""

import dataclasses

import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import lr_celli
import lr_efa
import lr_les
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.spatial.transform import Rotation

total_charge = lambda width, key: bb.TotalCharge(width, key=key)
celli = lambda width, key: lr_celli.ChargeEquilibration(width, hidden=(4,), key=key)
polarizable = lambda width, key: lr_celli.PolarizableChargeEquilibration(
    lr_celli.ChargeEquilibration(width, hidden=(4,), solver="dense", key=key)
)
les = lambda width, key: lr_les.LatentEwald(width, key=key)
efa = lambda width, key: lr_efa.EuclideanFastAttention(
    width, omega_max=1.5, shell_thickness=0.3, qk_size=4, v_size=4, key=key
)
efa_vectors = lambda width, key: lr_efa.EuclideanFastAttention(
    width, omega_max=1.5, shell_thickness=0.3, qk_size=4, v_size=4, degree=1, key=key
)
sum_of = lambda *makers: (
    lambda width, key: bb.Sum(
        tuple(m(width, jr.fold_in(key, i)) for i, m in enumerate(makers))
    )
)
# Together with the MACE models below, every backbone is tested with every layer.
ALL_LAYERS = {"embedding": sum_of(total_charge, efa), "block 1": celli, "final": les}
MODELS = {
    "mace": ("mace", {}),
    "mace, les twice": ("mace", {"final": sum_of(les, les)}),
    "mace, celli": ("mace", {"block 1": celli}),
    "mace, degree 1 efa and dipoles": (
        "mace",
        {"embedding": total_charge, "block 1": efa_vectors, "final": polarizable},
    ),
    "allegro, all": ("allegro", ALL_LAYERS),
    "dimenet, all": ("dimenet", ALL_LAYERS),
}
BACKBONES = {
    "mace": (
        bb.MACE,
        bb.MACESize(
            channels=4, l_max=1, correlation=2, radial_mlp=(8,), readout_width=4
        ),
    ),
    "allegro": (
        bb.Allegro,
        bb.AllegroSize(
            channels=2, l_max=1, hidden=8, two_body=(8,), embedding=4, adapter=4
        ),
    ),
    "dimenet": (
        bb.DimeNet,
        bb.DimeNetSize(
            channels=8,
            num_blocks=2,
            int_emb_size=4,
            basis_emb_size=4,
            out_emb_channels=8,
            num_spherical=3,
            num_radial=4,
            adapter=4,
        ),
    ),
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def make_potential(name):
    """A potential whose parameters differ from their initial values."""
    kind, layers = MODELS[name]
    make, size = BACKBONES[kind]
    with jax.enable_x64(True):
        backbone = make(
            (1, 6, 8),
            size,
            cutoff=4.0,
            avg_num_neighbors=10.0,
            long_range={
                hook: layer(size.widths[hook], jr.fold_in(jr.key(3), i))
                for i, (hook, layer) in enumerate(layers.items())
            },
            charges="block 1" if "block 1" in layers else None,
            key=jr.key(0),
        )
        return perturbed(bb.Potential(backbone, {1: 0.0, 6: 0.0, 8: 0.0}))


@pytest.fixture(scope="module", params=MODELS)
def potential(request):
    return make_potential(request.param)


def perturbed(potential):
    """Changes every parameter from its initial value, which is zero for some."""
    arrays, rest = eqx.partition(potential, eqx.is_inexact_array)

    @jax.jit
    def change(arrays):
        leaves, tree = jax.tree.flatten(arrays)
        keys = jr.split(jr.key(7), len(leaves))
        changed = [
            x + 0.1 * jr.normal(k, x.shape, x.dtype) if x.ndim else x
            for x, k in zip(leaves, keys, strict=True)
        ]
        return jax.tree.unflatten(tree, changed)

    return eqx.combine(change(arrays), rest)


def structure(periodic, seed=0, atoms=6):
    rng = np.random.default_rng(seed)
    grid = rng.permutation(np.stack(np.meshgrid(*[range(3)] * 3), -1).reshape(-1, 3))
    positions = 2.4 * grid[:atoms] + rng.uniform(size=(atoms, 3))
    cell = 8.0 * np.eye(3) + rng.uniform(-0.7, 0.7, (3, 3)) if periodic else None
    return bb.Structure(rng.choice([1, 6, 8], atoms), positions, cell)


@eqx.filter_jit
def evaluate(potential, batch):
    return potential(batch)


def pack(potential, *structures):
    """One or two structures; array shapes are the same, to share a compiled program."""
    (bucket,) = bb.pack(
        structures,
        cutoff=4.0,
        graphs=2,
        plan_for=potential.backbone.plan_for,
        triplets=potential.backbone.needs_triplets,
        min_sizes=bb.PaddedSizes(graphs=2, slots=6, edges=512, triplets=8192),
        dtype=np.float64,
    )
    return bucket


def predict(potential, *structures):
    bucket = pack(potential, *structures)
    return evaluate(potential, bucket.batch(range(len(structures))))


close = lambda a, b, tol=1e-9: np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


@pytest.mark.parametrize("periodic", [True, False])
def test_energies_are_invariant_and_forces_equivariant(potential, periodic):
    """Under a rotation, a reflection and a translation."""
    s = structure(periodic)
    q = -Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    cell = None if s.cell is None else s.cell @ q.T
    rotated = dataclasses.replace(s, positions=s.positions @ q.T + 0.7, cell=cell)
    a, b = predict(potential, s), predict(potential, rotated)
    close(a.energies, b.energies)
    close(a.charges, b.charges)
    close(a.forces @ q.T, b.forces)


@pytest.mark.parametrize("periodic", [True, False])
def test_forces_and_stress_are_derivatives_of_the_energy(potential, periodic):
    s, h = structure(periodic), 1e-5
    out = predict(potential, s)
    rng = np.random.default_rng(2)
    step = h * rng.normal(size=s.positions.shape)
    energy = lambda s: float(predict(potential, s).energy[0])
    displaced = lambda d: dataclasses.replace(s, positions=s.positions + d)
    slope = (energy(displaced(step)) - energy(displaced(-step))) / 2
    close(slope / h, -np.sum(out.forces[0, : len(s)] * step) / h, 1e-6)
    if not periodic:
        return
    strain = rng.normal(size=(3, 3))
    strain = strain + strain.T
    stretched = lambda t: dataclasses.replace(
        s,
        positions=s.positions @ (np.eye(3) + t * strain),
        cell=s.cell @ (np.eye(3) + t * strain),
    )
    slope = (energy(stretched(h)) - energy(stretched(-h))) / (2 * h)
    full = out.stress[0][np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])]
    close(slope / abs(np.linalg.det(s.cell)), np.sum(full * strain), 1e-6)


def test_structures_in_a_batch_have_the_results_of_single_structures(
    potential, optimization_disabled
):
    small, large = structure(True, 1, 4), structure(True, 2, 6)
    large = dataclasses.replace(large, cell=1.5 * large.cell)
    bucket = pack(potential, small, large)
    together = evaluate(potential, bucket.batch([0, 1]))
    for g, s in enumerate((small, large)):
        # With a graph of padding: the program is the same as for both structures.
        alone = evaluate(potential, bucket.batch([g]))
        close(alone.energies[0, : len(s)], together.energies[g, : len(s)])
        close(alone.forces[0, : len(s)], together.forces[g, : len(s)])
        close(alone.stress[0], together.stress[g])
    assert np.all(together.charges[0, 4:] == 0)


def test_every_parameter_has_a_gradient_from_forces(potential, optimization_disabled):
    (bucket,) = bb.pack(
        [structure(True, 1), structure(True, 2)],
        cutoff=4.0,
        graphs=2,
        plan_for=potential.backbone.plan_for,
        triplets=potential.backbone.needs_triplets,
        dtype=np.float64,
    )

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(potential, batch):
        out = potential(batch)
        return jnp.sum(out.forces**2) + jnp.sum(out.energy**2)

    for path, leaf in jax.tree.leaves_with_path(
        gradient(potential, bucket.batch([0, 1]))
    ):
        assert np.all(np.isfinite(leaf)), path
        assert leaf.ndim == 0 or np.any(leaf != 0), path


@pytest.mark.parametrize(
    ("name", "degenerate"), [("mace, les twice", True), ("mace, celli", False)]
)
def test_only_equilibrated_charges_depend_on_the_total_charge(name, degenerate):
    """With latent charges alone, ions of one structure have the same energy."""
    model, s = make_potential(name), structure(False)
    ions = [dataclasses.replace(s, total_charge=q) for q in (-1.0, 0.0, 1.0)]
    outs = [predict(model, ion) for ion in ions]
    gaps = np.abs(np.diff([float(out.energy[0]) for out in outs]))
    if degenerate:
        assert np.all(gaps == 0)
    else:
        assert np.all(gaps > 1e-3)
        close([out.charges.sum() for out in outs], [-1.0, 0.0, 1.0])


def test_distant_atoms_interact_by_their_latent_charges():
    """The energy is k_e q q / r."""
    layer = lr_les.LatentEwald(3, key=jr.key(0))
    features = jr.normal(jr.key(1), (2, 3))
    mask = jnp.ones(2, bool)
    q = layer.latent_charges(features, mask)[:, 0]
    for r in (20.0, 40.0):
        positions = jnp.array([[0.0, 0, 0], [r, 0, 0]])
        _, energies, charges = layer(features, positions, None, mask)
        close(energies.sum(), lr_les.COULOMB_CONSTANT * q[0] * q[1] / r)
        close(charges, q)


def test_second_derivatives_of_a_lattice_sum():
    s = structure(True)
    layer = lr_les.LatentEwald(3, key=jr.key(0))
    plan = layer.plan(s.cell, s.positions)
    features, mask = jr.normal(jr.key(1), (6, 3)), jnp.ones(6, bool)

    @jax.jit
    def energy(positions):
        call = layer(features, positions, jnp.asarray(s.cell), mask, plan=plan)
        return call[1].sum()

    check_grads(energy, (jnp.asarray(s.positions),), 2, ["rev"], atol=1e-4, rtol=1e-4)
