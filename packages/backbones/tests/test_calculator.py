"""The ASE calculator against the potential."""

import warnings

import ase
import ase.build
import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError
from ase.stress import full_3x3_to_voigt_6_stress
from matscipy.neighbours import neighbour_list

# For tests that do not depend on the model.
TINY = bb.MACESize(
    channels=2,
    hidden_degree=0,
    l_max=1,
    correlation=1,
    num_bessel=3,
    radial_mlp=(4,),
    readout_width=2,
)
close = lambda a, b, tol=1e-9: np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


def atoms_of(s):
    return ase.Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.cell is not None)


def counted(potential, shapes):
    """The potential with a record of the shapes for which it is traced."""

    class Counted(eqx.Module):
        inner: eqx.Module
        elements: tuple = eqx.field(static=True)

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def __call__(self, batch):
            shapes.append(batch.positions.shape + batch.senders.shape)
            return self.inner(batch)

    inner = potential.backbone
    return eqx.tree_at(lambda p: p.backbone, potential, Counted(inner, inner.elements))


@pytest.mark.parametrize("box", [3.0, 8.0])
def test_neighbors_in_small_cells_agree_with_matscipy(box, structure):
    s = structure(1, atoms=5, box=box)
    pairs = bb.neighbors(s.positions, s.cell, 4.0)
    i, j, shifts = neighbour_list("ijS", atoms_of(s), 4.0)
    actual = zip(pairs.receivers, pairs.senders, map(tuple, pairs.shifts), strict=True)
    expected = zip(i, j, map(tuple, shifts), strict=True)
    assert sorted(actual) == sorted(expected)


@pytest.mark.parametrize("kind", [bb.MACE, bb.DimeNet])
def test_properties_agree_with_the_potential(
    kind, with_layer_at_every_hook, structure, predict
):
    potential = with_layer_at_every_hook(kind)
    s = structure(1)
    atoms = atoms_of(s)
    atoms.calc = bb.Calculator(potential, total_charge=s.total_charge)
    out = predict(potential, s)
    atomic_energies = potential.atomic_energies_of(s.numbers)
    close(atoms.get_potential_energy(), out.energy[0] + atomic_energies.sum())
    close(atoms.get_potential_energies(), out.energies[0] + atomic_energies)
    close(atoms.get_potential_energies().sum(), atoms.get_potential_energy())
    close(atoms.get_forces(), out.forces[0])
    close(atoms.get_stress(), out.stress[0])
    close(atoms.get_charges(), out.charges[0])
    with pytest.raises(PropertyNotImplementedError, match="dipole of a crystal"):
        atoms.get_dipole_moment()


def test_stress_is_the_strain_derivative_in_a_small_cell(mace, structure):
    atoms = atoms_of(structure(2, atoms=2, box=3.0))
    atoms.calc = bb.Calculator(mace(), total_charge=0.0)
    stress, cell, h = atoms.get_stress(), atoms.cell.array.copy(), 1e-5
    derivatives = np.zeros((3, 3))
    for a in range(3):
        for b in range(3):
            strain = np.zeros((3, 3))
            strain[a, b] = h
            energies = []
            for sign in (1, -1):
                atoms.set_cell(cell @ (np.eye(3) + sign * strain), scale_atoms=True)
                energies.append(atoms.get_potential_energy())
            derivatives[a, b] = (energies[0] - energies[1]) / (2 * h)
    atoms.set_cell(cell, scale_atoms=True)
    close(full_3x3_to_voigt_6_stress(derivatives) / atoms.get_volume(), stress, 1e-7)


def test_molecules_have_dipoles_and_energies_depend_on_the_charge(
    with_layer_at_every_hook,
):
    potential = with_layer_at_every_hook(bb.MACE)
    water = ase.Atoms("OH2", [[0, 0, 0], [0.9, 0.3, 0], [-0.9, 0.3, 0]])
    water.calc = bb.Calculator(potential, total_charge=0.0)
    neutral = water.get_potential_energy()
    close(water.get_dipole_moment(), water.get_charges() @ water.positions)
    with pytest.raises(PropertyNotImplementedError, match="no stress"):
        water.get_stress()
    water.calc.set(total_charge=1.0)
    assert abs(water.get_potential_energy() - neutral) > 1e-6
    with pytest.raises(ValueError, match="'charge' is not a parameter"):
        water.calc.set(charge=1.0)


def test_a_charge_that_no_layer_uses_gives_one_warning(mace, with_layer):
    water = ase.Atoms("OH2", [[0, 0, 0], [0.9, 0.3, 0], [-0.9, 0.3, 0]])
    neutral = bb.Calculator(mace(), total_charge=0.0).get_potential_energy(water)
    water.calc = bb.Calculator(mace(), total_charge=2.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        assert water.get_potential_energy() == neutral
        water.rattle(0.01)
        water.get_potential_energy()
    texts = [str(warning.message) for warning in caught]
    assert sum("`total_charge` is 2 e, but no layer" in text for text in texts) == 1
    # A layer without `uses_total_charge` may use it: no warning, which is an error.
    water.calc = bb.Calculator(with_layer(), total_charge=2.0)
    water.get_potential_energy()


def test_sums_use_the_total_charge_if_a_member_does():
    unused, used = bb.NoLongRange(), bb.TotalCharge(4, key=jax.random.key(0))
    uses = lambda *layers: bb.Sum(layers).uses_total_charge
    assert not uses(unused, unused) and uses(unused, used)


def test_models_without_charges_raise(mace):
    water = ase.Atoms("OH2", [[0, 0, 0], [0.9, 0.3, 0], [-0.9, 0.3, 0]])
    water.calc = bb.Calculator(mace(), total_charge=0.0)
    with pytest.raises(PropertyNotImplementedError, match="no long-range layer with"):
        water.get_charges()


def test_a_size_is_compiled_once(mace):
    shapes = []
    potential = counted(mace(TINY), shapes)
    calculator = bb.Calculator(potential, total_charge=0.0)
    rng = np.random.default_rng(0)
    atoms = ase.build.bulk("C", "diamond", a=3.6, cubic=True)
    for _ in range(4):
        atoms.rattle(0.05, rng=rng)
        atoms.set_cell(atoms.cell.array * rng.uniform(0.99, 1.01), scale_atoms=True)
        atoms.calc = calculator
        assert np.isfinite(atoms.get_potential_energy())
    assert len(shapes) == 1
    del atoms[3]  # one atom less has the same padded size
    atoms.calc = calculator
    new = bb.Calculator(mace(TINY), total_charge=0.0)
    close(atoms.get_potential_energy(), new.get_potential_energy(atoms))
    assert len(shapes) == 1 == len(calculator.padded_sizes)
    large = atoms.repeat(2)
    large.calc = calculator
    assert np.isfinite(large.get_potential_energy())
    assert len(shapes) == 2 == len(calculator.padded_sizes)


class CellPlan(eqx.Module):
    """A plan that covers cells near those it was made for."""

    cells: jax.Array
    margin: float = eqx.field(static=True)

    def covers(self, cells, positions, mask):
        assert positions.shape == (*mask.shape, 3) and len(cells) == len(mask)
        return np.max(np.abs(np.asarray(self.cells) - cells), axis=(1, 2)) < self.margin


class Planned(eqx.Module):
    """A layer whose energy is the volume of the cell of its plan."""

    margins: list = eqx.field(static=True)
    degree: int = eqx.field(static=True, default=0)

    def __call__(self, features, positions, cell, mask, *, plan, **_):
        volume = jnp.abs(jnp.linalg.det(plan.cells))
        energies = jnp.where(mask, volume / mask.sum(), 0.0)
        return jnp.zeros_like(features), energies, jnp.zeros_like(energies)

    def plan_for(self, cells, positions, mask, *, margin=1e-3):
        self.margins.append(margin)
        return CellPlan(jnp.asarray(cells), 10 * margin)


def test_plans_are_reused_while_they_cover_the_cell(mace):
    margins = []
    layer = Planned(margins)
    potential = mace(TINY, {"final": layer})
    geometry = np.eye(3)[None], np.zeros((1, 2, 3)), np.ones((1, 2), bool)
    assert not bb.plan_covers({"final": np.zeros(3)}, *geometry)
    # A node without a method `covers`.
    assert not bb.plan_covers({"final": (bb.NoLongRange(),)}, *geometry)
    assert bb.plan_covers({"final": None, "block 1": (None, None)}, *geometry)
    atoms = ase.build.bulk("C", "diamond", a=3.6)
    atoms.calc = bb.Calculator(potential, total_charge=0.0)
    without = bb.Calculator(mace(TINY), total_charge=0.0)
    for scale, plans in ((1.0, 1), (1.02, 1), (2.0, 2), (2.02, 2), (1.0, 3)):
        atoms.set_cell(ase.build.bulk("C", "diamond", a=3.6 * scale).cell)
        extra = atoms.get_potential_energy() - without.get_potential_energy(atoms)
        assert len(margins) == plans
        base = {1: 1.0, 2: 2.0, 3: 1.0}[plans]
        close(extra, (3.6 * base) ** 3 / 4)
    assert set(margins) == {0.1}


def test_results_that_are_not_finite_raise_with_the_likely_cause(mace, model):
    water = ase.Atoms("OH2", [[0, 0, 0], [0.9, 0.3, 0], [-0.9, 0.3, 0]])
    layer = bb.TotalCharge(4, charges=(-1, 1), key=jax.random.key(0))
    charged = mace(long_range={"embedding": layer})
    water.calc = bb.Calculator(charged, total_charge=2.0)
    with pytest.raises(
        CalculationFailed, match="not support total charge 2 with spin 0"
    ):
        water.get_potential_energy()
    assert not water.calc.results
    weights = lambda p: p.backbone.embedding
    broken = eqx.tree_at(weights, charged, jnp.full((3, 4), jnp.nan))
    water.calc = bb.Calculator(broken, total_charge=1.0)
    message = r"weights in .backbone.embedding\S* are not finite"
    with pytest.raises(ValueError, match=message):
        water.get_forces()
    # Weights so large that the energy overflows.
    large = eqx.tree_at(weights, charged, jnp.full((3, 4), 1e200))
    water.calc = bb.Calculator(large, total_charge=1.0)
    with pytest.raises(ValueError, match=r"smallest distance of two atoms is 0.949 Å"):
        water.get_forces()


def test_invalid_atoms_raise(mace):
    calculator = bb.Calculator(mace(), total_charge=0.0)
    slab = ase.build.fcc111("Cu", (1, 1, 2), 8.0)
    with pytest.raises(ValueError, match="mix open and periodic"):
        calculator.get_potential_energy(slab)
    with pytest.raises(ValueError, match="does not support Cu"):
        calculator.get_potential_energy(ase.build.bulk("Cu"))
    broken = ase.Atoms("H2", [[0, 0, 0], [np.nan, 0, 0]])
    with pytest.raises(ValueError, match="atom 1 is not finite"):
        calculator.get_potential_energy(broken)
    with pytest.raises(ValueError, match="at least one atom"):
        calculator.get_potential_energy(ase.Atoms())


def test_atoms_too_close_are_named(mace):
    calculator = bb.Calculator(mace(), total_charge=0.0)
    atoms = ase.Atoms("OHC", [[0, 0, 0], [0.9, 0, 0], [0.9, 0.05, 0]])
    with pytest.raises(ValueError, match=r"Atom 1 \(H\) and 2 \(C\) are 0.05 Å apart"):
        calculator.get_potential_energy(atoms)
    # Across the cell boundary, with unwrapped positions.
    atoms = ase.Atoms("OH", [[0.02, 0, 0], [14.97, 0, 5]], cell=[5, 5, 5], pbc=True)
    with pytest.raises(ValueError, match=r"Atom 0 \(O\) and 1 \(H\) are 0.05 Å apart"):
        calculator.get_potential_energy(atoms)
    atoms = ase.Atoms("C", cell=[5, 5, 0.09], pbc=True)
    with pytest.raises(
        ValueError, match=r"Atom 0 \(C\) and its periodic image are 0.09"
    ):
        calculator.get_potential_energy(atoms)


@pytest.mark.parametrize("periodic", [True, False])
def test_positions_far_from_the_origin_keep_precision(
    periodic, with_layer_at_every_hook, structure
):
    """Without a shift of the origin, float32 resolves 0.001 Å at 10 000 Å."""
    with jax.enable_x64(False):
        potential = with_layer_at_every_hook(bb.MACE)
        s = structure(1, periodic=periodic)
        calculator = bb.Calculator(potential, total_charge=1.0)
        results = []
        for shift in ([0.0, 0, 0], [10_000.0, -9_999.7, 123.4]):
            atoms = atoms_of(s)
            atoms.positions += shift
            atoms.calc = calculator
            results.append((atoms.get_potential_energy(), atoms.get_forces()))
            if not periodic:
                charges, dipole = atoms.get_charges(), atoms.get_dipole_moment()
                close(dipole, charges @ atoms.positions, 1e-12)
    assert abs(results[1][0] - results[0][0]) < 1e-6
    assert np.abs(results[1][1] - results[0][1]).max() < 1e-5
