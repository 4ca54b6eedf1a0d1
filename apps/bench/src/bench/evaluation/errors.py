"""Errors of predictions, and the floors of these errors."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from bench.dataset.opening import Sample
from bench.dataset.per_element import composition_energy
from bench.evaluation.predicting import Prediction
from bench.evaluation.response import response_of_fixed_charges
from bench.labels import ERROR_SCALE, KINDS, LABELS_BY_KIND, field_of
from bench.settings.training import LossSettings


@dataclasses.dataclass(frozen=True)
class Errors:
    """Mean absolute errors, root mean square errors and coefficients of determination.

    Args:
        values: by kind and metric, such as `force_mae`, `energy_rmse` or `dipole_r2`,
            in the units of `Label.error_unit`; infinite where a prediction is not
            finite. `errors["force_mae"]` is NaN where there are no labels.
    """

    values: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        return self.values.get(name, np.nan)

    def as_dict(self) -> dict[str, float | None]:
        """Returns the errors by name; None where one is not finite."""
        names = [
            f"{kind}_{metric}"
            for kind, label in LABELS_BY_KIND.items()
            for metric in ("mae", "rmse", *(["r2"] if label.has_r2 else []))
            if label.predicted_by != "none" or f"{kind}_{metric}" in self.values
        ]
        return {n: self[n] if np.isfinite(self[n]) else None for n in names}

    def loss(self, settings: LossSettings) -> float:
        """Returns the weighted mean squared error, in the units of the weights.

        Kinds without labels are left out; NaN if this leaves none.

        Args:
            settings: weights by kind of label.
        """
        weights = {k: weight for k, weight in settings.weights.items() if weight}
        errors = [(self[f"{k}_rmse"], weights[k]) for k in weights]
        terms = [weight * error**2 for error, weight in errors if not np.isnan(error)]
        return 1e-6 * sum(terms) if terms else np.nan


def errors_of(
    predictions: Sequence[Prediction],
    samples: Sequence[Sample],
    kinds: Collection[str] = KINDS,
) -> Errors:
    """Returns the errors over all samples.

    All force components, and all charges, have the same weight.

    Args:
        predictions: one per sample.
        samples: with labels.
        kinds: of labels to compare; latent charges are not compared with labels.
    """
    errors = {}
    for kind in kinds:
        pairs = zip(predictions, samples, strict=True)
        candidates = [(residuals(p, s, kind), s) for p, s in pairs]
        labeled = [(r, s) for r, s in candidates if r is not None]
        if not labeled:
            continue
        x = ERROR_SCALE * np.concatenate([r for r, _ in labeled])
        if not np.isfinite(x).all():
            errors |= {f"{kind}_mae": np.inf, f"{kind}_rmse": np.inf}
            continue
        errors[f"{kind}_mae"] = float(np.mean(np.abs(x)))
        errors[f"{kind}_rmse"] = float(np.mean(x**2) ** 0.5)
        if LABELS_BY_KIND[kind].has_r2:
            labels = [np.ravel(s.labels[field_of(kind)]) for _, s in labeled]
            deviation = ERROR_SCALE * np.std(np.concatenate(labels))
            errors[f"{kind}_r2"] = float(1 - np.mean(x**2) / max(deviation**2, 1e-12))
    return Errors(errors)


def charge_sign(predictions: Sequence[Prediction], samples: Sequence[Sample]) -> int:
    """Returns the sign (1 or -1) by which latent charges agree with labels.

    Their energy does not depend on their overall sign, so it is determined by labels
    that respond to them, such as dipoles, of structures outside the test set.

    Args:
        predictions: one per sample.
        samples: with labels.
    """
    response = [x.name for x in LABELS_BY_KIND.values() if x.predicted_by == "charges"]
    overlap = 0.0
    for p, s in zip(predictions, samples, strict=True):
        for name in response:
            predicted, label = p.labels.get(name), s.labels.get(name)
            if predicted is not None and label is not None:
                overlap += float(np.vdot(predicted, label))
    return -1 if overlap < 0 else 1


def residuals(prediction: Prediction, sample: Sample, kind: str) -> np.ndarray | None:
    """Returns prediction minus label, flattened; None if one of them is missing.

    In the units of the labels; energies per atom.

    Args:
        prediction: for the sample.
        sample: with labels.
        kind: one of `KINDS`.
    """
    label = LABELS_BY_KIND[kind]
    predicted = prediction.labels.get(label.name)
    reference = sample.labels.get(label.name)
    if predicted is None or reference is None:
        return None
    return np.ravel(label.residual(predicted, reference, len(sample.structure)))


def floor_of(
    samples: Sequence[Sample],
    atomic_energies: dict[int, float],
    charges: dict[int, float],
) -> Errors:
    """Returns the errors of a baseline without a model.

    It predicts the sum of atomic energies, one charge per element, the dipoles and Born
    charges of these fixed charges, and zero for all other labels.

    Args:
        samples: with labels.
        atomic_energies: eV by atomic number.
        charges: e by atomic number; empty if training has no charge labels, which
            makes dipoles and Born charges zero.
    """
    baselines = [_baseline(s, atomic_energies, charges) for s in samples]
    kinds = [k for k in KINDS if k != "charge" or charges]
    return errors_of(baselines, samples, kinds)


def _baseline(
    sample: Sample, atomic_energies: dict[int, float], charges: dict[int, float]
) -> Prediction:
    numbers = sample.structure.numbers
    zeros = {
        x.name: np.zeros((len(numbers), *x.shape) if x.per_atom else x.shape)
        for x in LABELS_BY_KIND.values()
    }
    fixed = np.array([charges.get(int(z), 0.0) for z in numbers])
    energy = {"energy": composition_energy(sample, atomic_energies)}
    response = response_of_fixed_charges(sample.structure, fixed)
    return Prediction(zeros | energy | response)
