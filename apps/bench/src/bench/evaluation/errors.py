"""Errors of predictions, and the floors of these errors."""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
from ase.data import atomic_masses

from bench.dataset.opening import Sample
from bench.dataset.per_element import composition_energy
from bench.evaluation.predicting import Prediction
from bench.labels import KINDS, field_of
from bench.settings.training import LossSettings


@dataclasses.dataclass(frozen=True)
class Errors:
    """Mean absolute errors, root mean square errors and coefficients of determination.

    NaN where there are no labels, infinite where a prediction is not finite.

    Energies in meV/atom; components of forces in meV/Å, of stress in meV/Å^3, of
    dipoles in me Å and of Born charges in me; charges in me.
    """

    energy_mae: float = np.nan
    energy_rmse: float = np.nan
    force_mae: float = np.nan
    force_rmse: float = np.nan
    stress_mae: float = np.nan
    stress_rmse: float = np.nan
    charge_mae: float = np.nan
    charge_rmse: float = np.nan
    dipole_mae: float = np.nan
    dipole_rmse: float = np.nan
    dipole_r2: float = np.nan
    born_mae: float = np.nan
    born_rmse: float = np.nan
    born_r2: float = np.nan

    def as_dict(self) -> dict[str, float | None]:
        """Returns the errors by name; None where one is not finite."""
        return {
            name: value if np.isfinite(value) else None
            for name, value in dataclasses.asdict(self).items()
        }

    def loss(self, settings: LossSettings) -> float:
        """Returns the weighted mean squared error, in the units of the weights.

        Kinds without labels are left out; NaN if this leaves none.

        Args:
            settings: weights by kind of label.
        """
        weights = {k: weight for k, weight in settings.weights.items() if weight}
        errors = [(getattr(self, f"{k}_rmse"), weights[k]) for k in weights]
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
        x = 1000 * np.concatenate([r for r, _ in labeled])
        if not np.isfinite(x).all():
            errors |= {f"{kind}_mae": np.inf, f"{kind}_rmse": np.inf}
            continue
        errors[f"{kind}_mae"] = float(np.mean(np.abs(x)))
        errors[f"{kind}_rmse"] = float(np.mean(x**2) ** 0.5)
        if f"{kind}_r2" in Errors.__dataclass_fields__:
            labels = [getattr(s, field_of(kind)).ravel() for _, s in labeled]
            deviation = 1000 * np.std(np.concatenate(labels))
            errors[f"{kind}_r2"] = float(1 - np.mean(x**2) / max(deviation**2, 1e-12))
    return Errors(**errors)


def charge_sign(predictions: Sequence[Prediction], samples: Sequence[Sample]) -> int:
    """Returns the sign (1 or -1) by which latent charges agree with labels.

    Their energy does not depend on their overall sign, so it is determined by dipoles
    and Born charges, of structures outside the test set.

    Args:
        predictions: one per sample.
        samples: with labels.
    """
    overlap = 0.0
    for p, s in zip(predictions, samples, strict=True):
        for name in ("dipole", "born_charges"):
            predicted, label = getattr(p, name), getattr(s, name)
            if predicted is not None and label is not None:
                overlap += float(np.vdot(predicted, label))
    return -1 if overlap < 0 else 1


def residuals(prediction: Prediction, sample: Sample, kind: str) -> np.ndarray | None:
    """Returns prediction minus label, flattened; None if one of them is missing.

    Energies in eV/atom, forces in eV/Å, stress in eV/Å^3, charges and Born charges in
    e, dipoles in e Å.

    Args:
        prediction: for the sample.
        sample: with labels.
        kind: one of `KINDS`.
    """
    if kind == "energy":
        if sample.energy is None or prediction.energy is None:
            return None
        return np.array([prediction.energy - sample.energy]) / len(sample.structure)
    name = field_of(kind)
    predicted, label = getattr(prediction, name), getattr(sample, name)
    return None if predicted is None or label is None else (predicted - label).ravel()


def floor_of(
    samples: Sequence[Sample],
    atomic_energies: dict[int, float],
    charges: dict[int, float],
) -> Errors:
    """Returns the errors of a baseline without a model.

    It predicts the sum of atomic energies, zero forces and stress, one charge per
    element, and the dipoles and Born charges of these fixed charges.

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
    numbers, positions = sample.structure.numbers, sample.structure.positions
    fixed = np.array([charges.get(int(z), 0.0) for z in numbers])
    masses = atomic_masses[numbers]
    center = masses @ positions / masses.sum()
    return Prediction(
        composition_energy(sample, atomic_energies),
        np.zeros_like(positions),
        None if sample.stress is None else np.zeros(6),
        fixed,
        fixed @ (positions - center),
        fixed[:, None, None] * np.eye(3),
    )
