"""What a potential predicts, how wrong it is, and how wrong no potential would be."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase.io
import equinox as eqx
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from backbones import Potential

from ._config import TrainSettings
from ._dataset import Sample
from ._loading import Shelf
from ._references import composition_energy


class Predicted(NamedTuple):
    """Prediction for one sample, in the units of its labels."""

    energy: float
    forces: np.ndarray
    charges: np.ndarray


@dataclasses.dataclass(frozen=True)
class Errors:
    """Mean absolute and root mean square errors; NaN where there are no labels.

    Energies in meV an atom, forces in meV/Å by component, charges in me.
    """

    energy_mae: float
    energy_rmse: float
    force_mae: float
    force_rmse: float
    charge_mae: float
    charge_rmse: float

    def known(self) -> dict[str, float | None]:
        """All errors by name; None, not NaN, where there are no labels."""
        return {
            name: value if np.isfinite(value) else None
            for name, value in dataclasses.asdict(self).items()
        }

    def loss(self, settings: TrainSettings) -> float:
        """The training loss of these errors, in the units of its weights."""
        total = settings.energy_weight * self.energy_rmse**2
        for weight, error in (
            (settings.force_weight, self.force_rmse),
            (settings.charge_weight, self.charge_rmse),
        ):
            if np.isfinite(error):
                total += weight * error**2
        return total * 1e-6


@eqx.filter_jit
def _evaluate(potential, batch):
    out = potential(batch)
    return out.energies, out.forces, out.charges


def predict(potential: Potential, shelf: Shelf, members: np.ndarray) -> list[Predicted]:
    """Predictions for some samples, in the order asked for; sums in float64."""
    references = dict(potential.references)
    found = {}
    for chosen, batch, _ in shelf.batches(members, references):
        outputs = [np.asarray(x) for x in _evaluate(potential, batch)]
        for index, energies, forces, charges in zip(chosen, *outputs, strict=False):
            sample = shelf.data.samples[index]
            n = len(sample.structure)
            energy = energies[:n].sum(dtype=np.float64)
            energy += composition_energy(sample, references)
            found[int(index)] = Predicted(float(energy), forces[:n], charges[:n])
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
    pairs = list(zip(predictions, samples, strict=True))
    energy = np.array([(p.energy - s.energy) / len(s.structure) for p, s in pairs])
    forces = [(p.forces - s.forces).ravel() for p, s in pairs if s.forces is not None]
    labelled = [(p, s) for p, s in pairs if charges and s.charges is not None]
    return _errors(energy, forces, [p.charges - s.charges for p, s in labelled])


def floor_of(
    samples: Sequence[Sample], references: dict[int, float], charges: dict[int, float]
) -> Errors:
    """Errors of the composition fit with zero forces and one charge an element.

    Args:
        samples: with labels.
        references: eV by atomic number.
        charges: e by atomic number; empty where training has no charge labels.
    """
    nothing = [
        Predicted(
            composition_energy(s, references),
            np.zeros_like(s.structure.positions),
            np.array([charges.get(int(z), 0.0) for z in s.structure.numbers]),
        )
        for s in samples
    ]
    return errors_of(nothing, samples, charges=bool(charges))


def _errors(*differences: Any) -> Errors:
    """Both errors of energies (eV an atom), forces (eV/Å) and charges (e)."""
    values = []
    for x in differences:
        x = np.concatenate(x) if isinstance(x, list) and x else np.asarray(x)
        mae = np.mean(np.abs(x)) if len(x) else np.nan
        rmse = np.mean(x**2) ** 0.5 if len(x) else np.nan
        values += [1000 * float(mae), 1000 * float(rmse)]
    return Errors(*values)


def write_predictions(
    path: Path,
    parts: Mapping[str, Sequence[Sample]],
    predictions: Mapping[str, Sequence[Predicted]],
    references: dict[int, float],
) -> None:
    """An extxyz file of predictions, the labels beside them as `label_*`.

    Args:
        path: replaced once the new file is complete.
        parts: samples by part of the split.
        predictions: one a sample, by part.
        references: eV by atomic number; their sum is stored as `floor_energy`.
    """
    frames = []
    for part, samples in parts.items():
        for s, p in zip(samples, predictions[part], strict=True):
            atoms = s.to_ase()
            results = {"energy": p.energy, "forces": p.forces}
            atoms.calc = SinglePointCalculator(atoms, **results)
            atoms.arrays["model_charges"] = np.asarray(p.charges, float)
            atoms.info = dict(
                id=s.id,
                group=s.group,
                part=part,
                total_charge=s.structure.total_charge,
                label_energy=s.energy,
                floor_energy=composition_energy(s, references),
            )
            if s.forces is not None:
                atoms.arrays["label_forces"] = s.forces
            if s.charges is not None:
                atoms.arrays["label_charges"] = s.charges
            frames.append(atoms)
    temporary = path.with_name(path.name + ".partial")
    ase.io.write(temporary, frames, format="extxyz")
    temporary.replace(path)
