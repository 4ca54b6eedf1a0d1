"""Dipoles and Born charges: reading, prediction, training and errors."""

import dataclasses

import ase
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from bench.batches.loading import batch_dataset
from bench.dataset.opening import open_dataset
from bench.dataset.per_element import fit_atomic_energies
from bench.dataset.preparing import prepare
from bench.dataset.summary import describe
from bench.evaluation.errors import charge_sign, errors_of, floor_of
from bench.evaluation.predicting import Prediction, predict_samples
from bench.evaluation.response import born_effective_charges, dipoles
from bench.exceptions import BenchError
from bench.experiment.trainable import labeled_kinds, trainable_settings
from bench.model.building import build_potential
from bench.settings.preparation import PreparationSettings
from bench.sources import ReadOptions
from bench.training.loss import loss


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def labeled(toy_structure, seed, charge=0, **labels):
    atoms = toy_structure(seed)
    results = atoms.calc.results | labels
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info["total_charge"] = charge
    return atoms


def prepared_data(frames, tmp_path, keys=None, **read):
    path = tmp_path / "own.extxyz"
    ase.io.write(path, frames, format="extxyz")
    order = PreparationSettings(source=str(path), keys=keys or {}, read=read)
    prepare(order, tmp_path / "prepared")
    return open_dataset(str(tmp_path / "prepared"))


def test_dipoles_are_stored_about_the_center_of_mass(toy_structure, tmp_path):
    frames = [labeled(toy_structure, i, -i, dipole=[1.0, 2.0, 3.0]) for i in range(2)]
    center = frames[1].get_center_of_mass()
    samples = prepared_data(frames, tmp_path / "a", dipole_origin="coordinates").samples
    np.testing.assert_allclose(samples[0].dipole, [1, 2, 3])
    np.testing.assert_allclose(samples[1].dipole, [1, 2, 3] + center)
    about_mass = prepared_data(frames, tmp_path / "b", dipole_origin="mass").samples
    np.testing.assert_allclose(about_mass[1].dipole, [1, 2, 3])
    # The dipole of a charged molecule is undefined without an origin.
    without_origin = prepared_data(frames, tmp_path / "c")
    assert without_origin.samples[1].dipole is None
    assert without_origin.samples[0].dipole is not None
    assert "dipoles          of 1 charged structures are not used" in describe(
        without_origin
    )
    with pytest.raises(ValueError, match="'mass' or 'coordinates'"):
        ReadOptions(dipole_origin="origin")


@pytest.fixture(autouse=True)
def folders(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()


def test_born_charges_are_stored_as_polarization_by_displacement(
    toy_structure, tmp_path
):
    frame = toy_structure(0)
    tensors = np.random.default_rng(0).normal(size=(5, 3, 3))
    frame.arrays["bec"] = tensors.reshape(5, 9)
    names = dict(keys={"born_charges": "bec"})
    (plain,) = prepared_data([frame], tmp_path / "a", **names).samples
    (transposed,) = prepared_data(
        [frame], tmp_path / "b", **names, born_transposed=True
    ).samples
    np.testing.assert_allclose(plain.born_charges, tensors, rtol=1e-6)
    np.testing.assert_allclose(transposed.born_charges, tensors.mT, rtol=1e-6)


@pytest.fixture(params=["open", "periodic"])
def model(request, toy_structure, grid_of, tmp_path):
    periodic = request.param == "periodic"
    frames = [toy_structure(i, periodic) for i in range(3)]
    path = tmp_path / "own.extxyz"
    ase.io.write(path, frames, format="extxyz")
    grid = grid_of(path).model_copy(update={"long_range": ("celli",)})
    run = grid.runs()[0]
    data = open_dataset(str(path))
    potential = build_potential(
        grid.model,
        run,
        fit_atomic_energies(data),
        avg_num_neighbors=4.0,
        scale=1.0,
    )
    batched = batch_dataset(data, potential.backbone, batch_size=4)
    labeled = batched.with_atomic_energies(dict(potential.atomic_energies))
    (((batch, targets),),) = labeled.steps(np.arange(3), np.random.default_rng(1), 1)
    to_double = lambda x: (
        jnp.asarray(x, float) if jnp.issubdtype(x.dtype, jnp.floating) else x
    )
    return grid, potential, jax.tree.map(to_double, batch), targets, batched


def displaced(batch, g, atom, direction, by):
    positions = batch.positions.at[g, atom, direction].add(by)
    return dataclasses.replace(batch, positions=positions)


def test_born_charges_are_derivatives_of_the_dipole(model):
    """With open boundaries, finite differences; in a cell, the Berry-phase formula."""
    _, potential, batch, _, _ = model
    born = jax.jit(born_effective_charges)(potential, batch)
    assert born.shape == (*batch.mask.shape, 3, 3)
    assert np.all(np.asarray(born)[~np.asarray(batch.mask)] == 0)
    charges = jax.jit(lambda b: potential.energies(b)[1])
    if batch.cell is None:
        # The dipole of a neutral structure does not depend on the origin.
        dipole = lambda b: np.einsum("gi,gic->gc", charges(b), b.positions)
        for g, atom, b in ((0, 0, 0), (1, 3, 1), (2, 4, 2)):
            ahead, behind = (
                dipole(displaced(batch, g, atom, b, h)) for h in (1e-4, -1e-4)
            )
            derivative = (ahead - behind)[g] / 2e-4
            np.testing.assert_allclose(born[g, atom, :, b], derivative, atol=1e-6)
        # Acoustic sum rule: the sum over atoms is the total charge.
        np.testing.assert_allclose(born.sum(1), 0, atol=1e-8)
        return
    for g, atom, b in ((0, 0, 0), (2, 4, 2)):
        ahead, behind = (
            charges(displaced(batch, g, atom, b, h)) for h in (1e-4, -1e-4)
        )
        derivative = np.asarray(ahead - behind)[g] / 2e-4
        cell = np.asarray(batch.cell[g])
        fractional = np.asarray(batch.positions[g]) @ np.linalg.inv(cell)
        sines = np.sin(2 * np.pi * (fractional - fractional[atom])) / (2 * np.pi)
        expected = np.einsum("ia,ac,i->c", sines, cell, derivative)
        expected[b] += charges(batch)[g, atom]
        np.testing.assert_allclose(born[g, atom, :, b], expected, atol=1e-6)


def test_dipoles_are_invariant_to_translation(model):
    _, potential, batch, targets, _ = model
    charges = np.asarray(potential.energies(batch)[1]) + 0.1 * np.asarray(batch.mask)
    original = dipoles(batch, charges)
    translated = dataclasses.replace(batch, positions=batch.positions + 5.0)
    np.testing.assert_allclose(original, dipoles(translated, charges), atol=1e-9)
    g, mask = 1, np.asarray(batch.mask[1])
    atoms = ase.Atoms(np.asarray(batch.species[g])[mask], batch.positions[g][mask])
    expected = charges[g][mask] @ (atoms.positions - atoms.get_center_of_mass())
    np.testing.assert_allclose(original[g], expected, atol=1e-6)


@pytest.mark.parametrize("model", ["open"], indirect=True)
def test_the_loss_contains_dipoles(model):
    """The loss of a shifted label is the mean square of the shift over components."""
    grid, potential, batch, targets, _ = model
    settings = grid.train.loss.model_copy(
        update={"energy": 0.0, "force": 0.0, "charge": 0.0, "dipole": 2.0}
    )
    exact = np.asarray(dipoles(batch, potential.energies(batch)[1]))
    shifted = dataclasses.replace(
        targets,
        values=targets.values | {"dipole": exact + np.array([0.3, 0.0, 0.0])},
        weights=targets.weights
        | {"dipole": np.array([1.0, 1.0, 0.0, 0.0])[: batch.graphs]},
    )
    value = loss(potential, batch, shifted, settings)
    np.testing.assert_allclose(value, 2.0 * 0.3**2 / 3, rtol=1e-6)


def test_errors_of_dipoles_and_born_charges(toy_structure, tmp_path):
    frame = labeled(toy_structure, 0, dipole=[0.5, 0.0, -0.5])
    frame.arrays["born_charges"] = np.tile(np.eye(3).ravel(), (5, 1))
    (sample,) = prepared_data([frame], tmp_path / "a").samples
    prediction = Prediction(
        {
            "charges": -sample.charges,
            "dipole": -sample.dipole - 0.01,
            "born_charges": -1.1 * sample.born_charges,
        }
    )
    assert charge_sign([prediction], [sample]) == -1
    errors = errors_of(
        [prediction.with_sign(-1)], [sample], ("charge", "dipole", "born")
    )
    np.testing.assert_allclose(errors["charge_mae"], 0, atol=1e-9)
    np.testing.assert_allclose(
        [errors["dipole_mae"], errors["dipole_rmse"]], 10, rtol=1e-6
    )
    np.testing.assert_allclose(errors["born_mae"], 1000 * 0.1 / 3, rtol=1e-6)
    # A third of the components are one, the others zero: their variance is 2/9.
    np.testing.assert_allclose(errors["born_r2"], 1 - (0.01 / 3) / (2 / 9), rtol=1e-6)
    charges = {1: 0.1, 6: -0.2, 8: 0.2}
    floor = floor_of([sample], {1: 0.0, 6: 0.0, 8: 0.0}, charges)
    fixed_charges = np.array([charges[int(z)] for z in sample.structure.numbers])
    relative = frame.positions - frame.get_center_of_mass()
    error = np.abs(fixed_charges @ relative - [0.5, 0.0, -0.5]).mean()
    np.testing.assert_allclose(floor["dipole_mae"], 1000 * error, rtol=1e-6)
    expected = np.abs(fixed_charges - 1).mean() / 3
    np.testing.assert_allclose(floor["born_mae"], 1000 * expected, rtol=1e-6)


@pytest.mark.parametrize("model", ["open"], indirect=True)
def test_forces_and_born_charges_are_predicted_on_request(model):
    _, potential, _, _, batched = model
    plain = predict_samples(potential, batched, np.arange(3), forces=False)
    full = predict_samples(potential, batched, np.arange(3), also=["born"])
    assert plain[0].forces is None and plain[0].born_charges is None
    assert full[0].born_charges.shape == (5, 3, 3)
    np.testing.assert_allclose(plain[2].dipole, full[2].dipole, atol=1e-6)
    np.testing.assert_allclose(plain[2].energy, full[2].energy, atol=1e-6)


def test_loss_weights_without_labels_are_rejected(toy_structure, grid_of, tmp_path):
    path = tmp_path / "own.extxyz"
    ase.io.write(path, [toy_structure(i) for i in range(4)], format="extxyz")
    grid, data = grid_of(path), open_dataset(str(path))
    given = labeled_kinds(data, np.arange(4)), 4
    celli = next(r for r in _with(grid, ("celli",)).runs())
    plain = next(r for r in _with(grid, ("none",)).runs())
    usable = trainable_settings(grid.train, celli, *given)
    assert (usable.loss.force, usable.loss.charge, usable.loss.stress) == (1, 10, 0)
    assert trainable_settings(grid.train, plain, *given).loss.charge == 0
    dipole = grid.train.model_copy(
        update={"loss": grid.train.loss.model_copy(update={"dipole": 1.0})}
    )
    with pytest.raises(BenchError, match="weighs dipole by 1, but none of the 4 train"):
        trainable_settings(dipole, celli, *given)
    # A model without charges has no dipole.
    assert trainable_settings(dipole, plain, *given).loss.dipole == 0


def _with(grid, layers):
    return grid.model_copy(update={"long_range": layers})
