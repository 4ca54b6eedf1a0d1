"""Errors of predictions and their floors."""

import dataclasses

import numpy as np
import pytest
from bench.dataset.opening import load_for_training
from bench.dataset.per_element import mean_charges
from bench.evaluation.errors import Errors, errors_of, floor_of
from bench.evaluation.predicting import Prediction
from bench.labels import KINDS
from bench.settings.training import LossSettings

LATENT_KINDS = [kind for kind in KINDS if kind != "charge"]


def test_errors_are_those_computed_expected_loss(structure_file):
    data = load_for_training(str(structure_file))
    data = dataclasses.replace(data, order=data.order[:2])
    samples = data.samples
    predictions = [
        Prediction(
            {
                "energy": s.energy + 0.01 * len(s.structure),
                "forces": s.forces + 0.2,
                "charges": s.charges - 0.03,
            }
        )
        for s in samples
    ]
    errors = errors_of(predictions, samples)
    expected = [10, 10, 200, 200, np.nan, np.nan, 30, 30] + [np.nan] * 6
    np.testing.assert_allclose(
        [errors[name] for name in errors.as_dict()], expected, rtol=1e-9
    )
    assert errors.as_dict()["stress_mae"] is None
    latent = errors_of(predictions, samples, LATENT_KINDS)
    assert np.isnan([latent["charge_mae"], latent["charge_rmse"]]).all()
    weights = LossSettings(energy=2.0, force=3.0, charge=5.0)
    expected_loss = 2 * 0.01**2 + 3 * 0.2**2 + 5 * 0.03**2
    assert errors.loss(weights) == pytest.approx(expected_loss)
    assert Errors({"energy_rmse": 10.0}).loss(weights) == pytest.approx(2 * 0.01**2)
    assert np.isnan(Errors().loss(weights))
    floor = floor_of(samples, {1: 0.0, 6: 0.0, 8: 0.0}, mean_charges(data))
    forces = np.concatenate([s.forces.ravel() for s in samples])
    np.testing.assert_allclose(floor["force_mae"], 1000 * np.abs(forces).mean())
    numbers = np.concatenate([s.structure.numbers for s in samples])
    charges = np.concatenate([s.charges for s in samples])
    deviations = [
        charges[numbers == z] - charges[numbers == z].mean() for z in {1, 6, 8}
    ]
    np.testing.assert_allclose(
        floor["charge_mae"], 1000 * np.abs(np.concatenate(deviations)).mean()
    )
