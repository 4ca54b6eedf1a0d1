"""What a potential predicts, how wrong it is, and how wrong no potential would be."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ase.io
import equinox as eqx
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from backbones import Potential

from ._config import KINDS, LossSettings
from ._dataset import DataSet, Sample
from ._loading import Shelf
from ._references import composition_energy


class Predicted(NamedTuple):
    """Prediction for one sample, in the units of its labels."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    charges: np.ndarray


@dataclasses.dataclass(frozen=True)
class Errors:
    """Mean absolute and root mean square errors; NaN where there are no labels.

    Energies in meV an atom, forces in meV/Å and stress in meV/Å^3 by component,
    charges in me.
    """

    energy_mae: float = np.nan
    energy_rmse: float = np.nan
    force_mae: float = np.nan
    force_rmse: float = np.nan
    stress_mae: float = np.nan
    stress_rmse: float = np.nan
    charge_mae: float = np.nan
    charge_rmse: float = np.nan

    def known(self) -> dict[str, float | None]:
        """All errors by name; None, not NaN, where there are no labels."""
        return {
            name: value if np.isfinite(value) else None
            for name, value in dataclasses.asdict(self).items()
        }

    def loss(self, settings: LossSettings) -> float:
        """Weighted mean squared error, in the units of the weights."""
        total = 0.0
        for kind, weight in settings.weights.items():
            error = getattr(self, f"{kind}_rmse")
            # A lost energy is a diverged model; other labels may be absent.
            if np.isfinite(error) or kind == "energy":
                total += weight * error**2
        return total * 1e-6


@eqx.filter_jit
def _evaluate(potential, batch):
    out = potential(batch)
    return out.energies, out.forces, out.charges, out.stress


def predict(potential: Potential, shelf: Shelf, members: np.ndarray) -> list[Predicted]:
    """Predictions for some samples, in the order asked for; sums in float64."""
    references = dict(potential.references)
    found = {}
    for chosen, batch, _ in shelf.batches(members, references):
        outputs = _evaluate(potential, batch)
        # Open structures have no stress.
        rows = [[None] * len(chosen) if x is None else np.asarray(x) for x in outputs]
        for index, energies, forces, charges, stress in zip(
            chosen, *rows, strict=False
        ):
            sample = shelf.data.samples[index]
            n = len(sample.structure)
            energy = energies[:n].sum(dtype=np.float64)
            energy += composition_energy(sample, references)
            found[int(index)] = Predicted(
                float(energy), forces[:n], stress, charges[:n]
            )
    return [found[int(m)] for m in members]


def errors_of(
    predictions: Sequence[Predicted], samples: Sequence[Sample], *, charges: bool
) -> Errors:
    """Errors over all samples; every force component and every charge counts the same.

    Args:
        predictions: one a sample.
        samples: with labels.
        charges: whether the predicted charges are physical; latent ones are not
            compared with labels.
    """
    found = {}
    for kind in KINDS:
        if kind == "charge" and not charges:
            continue
        parts = [
            d
            for p, s in zip(predictions, samples, strict=True)
            if (d := difference(p, s, kind)) is not None
        ]
        if parts:
            x = 1000 * np.concatenate(parts)
            found[f"{kind}_mae"] = float(np.mean(np.abs(x)))
            found[f"{kind}_rmse"] = float(np.mean(x**2) ** 0.5)
    return Errors(**found)


def difference(prediction: Predicted, sample: Sample, kind: str) -> np.ndarray | None:
    """Prediction minus label, flat; None where one of them does not exist.

    Energies in eV an atom, forces in eV/Å, stress in eV/Å^3, charges in e.
    """
    if kind == "energy":
        return np.array([prediction.energy - sample.energy]) / len(sample.structure)
    name = {"force": "forces", "charge": "charges"}.get(kind, kind)
    predicted, label = getattr(prediction, name), getattr(sample, name)
    return None if predicted is None or label is None else (predicted - label).ravel()


def floor_of(
    samples: Sequence[Sample], references: dict[int, float], charges: dict[int, float]
) -> Errors:
    """Errors of the composition fit, zero force and stress, one charge an element.

    Args:
        samples: with labels.
        references: eV by atomic number.
        charges: e by atomic number; empty where training has no charge labels.
    """
    nothing = [
        Predicted(
            composition_energy(s, references),
            np.zeros_like(s.structure.positions),
            None if s.stress is None else np.zeros(6),
            np.array([charges.get(int(z), 0.0) for z in s.structure.numbers]),
        )
        for s in samples
    ]
    return errors_of(nothing, samples, charges=bool(charges))


def write_predictions(
    path: Path,
    data: DataSet,
    parts: Mapping[str, np.ndarray],
    predictions: Mapping[str, Sequence[Predicted]],
    references: dict[int, float],
) -> None:
    """An extxyz file of predictions, the labels beside them as `label_*`.

    Args:
        path: replaced once the new file is complete.
        data: the samples.
        parts: indices of samples by part of the split.
        predictions: one a sample, by part.
        references: eV by atomic number; their sum is stored as `floor_energy`.
    """
    frames = []
    for part, members in parts.items():
        for index, p in zip(members, predictions[part], strict=True):
            s = data.samples[index]
            atoms = s.to_ase()
            results = {"energy": p.energy, "forces": p.forces}
            if p.stress is not None:
                results["stress"] = p.stress
            atoms.calc = SinglePointCalculator(atoms, **results)
            atoms.arrays["model_charges"] = np.asarray(p.charges, float)
            atoms.info = dict(
                id=s.id,
                index=int(index),
                group=s.group,
                part=part,
                total_charge=s.structure.total_charge,
                label_energy=s.energy,
                floor_energy=composition_energy(s, references),
            )
            if s.forces is not None:
                atoms.arrays["label_forces"] = s.forces
            if s.stress is not None:
                atoms.info |= {"label_stress": s.stress}
            if s.charges is not None:
                atoms.arrays["label_charges"] = s.charges
            frames.append(atoms)
    temporary = path.with_name(path.name + ".partial")
    ase.io.write(temporary, frames, format="extxyz")
    temporary.replace(path)
