"""What a potential predicts, how wrong it is, and how wrong no potential would be."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import NamedTuple

import equinox as eqx
import numpy as np
from ase.data import atomic_masses
from backbones import Potential

from bench.batches.loading import BatchedDataset
from bench.dataset.opening import Sample
from bench.dataset.per_element import composition_energy
from bench.evaluation.response import born_charges_of, dipoles
from bench.labels import FIELDS, KINDS
from bench.settings.training import LossSettings


class Prediction(NamedTuple):
    """Prediction for one sample, in the units of its labels."""

    energy: float | None
    forces: np.ndarray | None
    stress: np.ndarray | None
    charges: np.ndarray
    dipole: np.ndarray | None = None
    born_charges: np.ndarray | None = None

    def without_energy(self) -> "Prediction":
        """The same of a model that learned nothing of energies, and has none."""
        return self._replace(energy=None, forces=None, stress=None)

    @property
    def is_finite(self) -> bool:
        """Whether all that is predicted is a number."""
        return all(np.isfinite(x).all() for x in self if x is not None)

    def with_sign(self, sign: int) -> "Prediction":
        """The same with charges of another sign, which energies do not decide."""
        times = lambda x: None if x is None else sign * x
        return self._replace(
            charges=sign * self.charges,
            dipole=times(self.dipole),
            born_charges=times(self.born_charges),
        )


@dataclasses.dataclass(frozen=True)
class Errors:
    """Mean absolute and root mean square errors.

    NaN where there are no labels, infinite where a prediction is not finite.

    Energies in meV an atom, forces in meV/Å and stress in meV/Å^3 by component,
    charges and components of Born charges in me, components of dipoles in me Å. `r2` is
    the share of the labels' variance that is explained.
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

    def known(self) -> dict[str, float | None]:
        """All errors by name; None, not NaN, where there are no labels."""
        return {
            name: value if np.isfinite(value) else None
            for name, value in dataclasses.asdict(self).items()
        }

    def loss(self, settings: LossSettings) -> float:
        """Weighted mean squared error, in the units of the weights.

        Kinds without labels count nothing; NaN where no kind that is weighed has any.
        """
        weighed = [(k, weight) for k, weight in settings.weights.items() if weight]
        errors = [(getattr(self, f"{k}_rmse"), weight) for k, weight in weighed]
        terms = [weight * error**2 for error, weight in errors if not np.isnan(error)]
        return 1e-6 * sum(terms) if terms else np.nan


@eqx.filter_jit
def _evaluate(potential, batch, slopes: bool, born: bool):
    if slopes:
        out = potential(batch)
        energies, charges, forces, stress = (
            *(out.energies, out.charges),
            *(out.forces, out.stress),
        )
    else:
        (energies, charges), forces, stress = potential.energies(batch), None, None
    responds = potential.backbone.has_charges
    dipole = dipoles(batch, charges) if responds and batch.cell is None else None
    tensors = born_charges_of(potential, batch) if responds and born else None
    return energies, charges, forces, tensors, stress, dipole


def predict(
    potential: Potential,
    batched: BatchedDataset,
    members: np.ndarray,
    *,
    slopes: bool = True,
    born: bool = False,
) -> list[Prediction]:
    """Predictions for some samples, in the order asked for; sums in float64.

    Args:
        potential: predicts.
        batched: packed data.
        members: indices of samples.
        slopes: whether forces and stress are wanted.
        born: whether Born charges are.
    """
    atomic_energies = dict(potential.atomic_energies)
    found = {}
    for chosen, batch, _ in batched.batches(members, atomic_energies):
        outputs = _evaluate(potential, batch, slopes, born)
        # Open structures have no stress, others no dipole.
        rows = [[None] * len(chosen) if x is None else np.asarray(x) for x in outputs]
        for index, energies, charges, forces, tensors, stress, dipole in zip(
            chosen, *rows, strict=False
        ):
            sample = batched.data.samples[index]
            n = len(sample.structure)
            own = lambda x, n=n: None if x is None else x[:n]
            energy = energies[:n].sum(dtype=np.float64)
            energy += composition_energy(sample, atomic_energies)
            found[int(index)] = Prediction(
                float(energy), own(forces), stress, charges[:n], dipole, own(tensors)
            )
    return [found[int(m)] for m in members]


def errors_of(
    predictions: Sequence[Prediction],
    samples: Sequence[Sample],
    kinds: Collection[str] = KINDS,
) -> Errors:
    """Errors over all samples; every force component and every charge counts the same.

    Args:
        predictions: one a sample.
        samples: with labels.
        kinds: what is compared; latent charges are not compared with labels.
    """
    found = {}
    for kind in kinds:
        both = zip(predictions, samples, strict=True)
        compared = [(difference(p, s, kind), s) for p, s in both]
        parts = [(d, s) for d, s in compared if d is not None]
        if not parts:
            continue
        x = 1000 * np.concatenate([d for d, _ in parts])
        if not np.isfinite(x).all():
            found |= {f"{kind}_mae": np.inf, f"{kind}_rmse": np.inf}
            continue
        found[f"{kind}_mae"] = float(np.mean(np.abs(x)))
        found[f"{kind}_rmse"] = float(np.mean(x**2) ** 0.5)
        if f"{kind}_r2" in Errors.__dataclass_fields__:
            labels = [getattr(s, FIELDS.get(kind, kind)).ravel() for _, s in parts]
            spread = 1000 * np.std(np.concatenate(labels))
            found[f"{kind}_r2"] = float(1 - np.mean(x**2) / max(spread**2, 1e-12))
    return Errors(**found)


def charge_sign(predictions: Sequence[Prediction], samples: Sequence[Sample]) -> int:
    """1, or -1 where latent charges come with the other sign than the labels.

    Energies of latent charges do not change when all of them change their sign; which
    it is, dipoles and Born charges of structures that are not the test tell.

    Args:
        predictions: one a sample.
        samples: with labels.
    """
    along = 0.0
    for p, s in zip(predictions, samples, strict=True):
        for kind in ("dipole", "born_charges"):
            found, label = getattr(p, kind), getattr(s, kind)
            if found is not None and label is not None:
                along += float(np.vdot(found, label))
    return -1 if along < 0 else 1


def difference(prediction: Prediction, sample: Sample, kind: str) -> np.ndarray | None:
    """Prediction minus label, flat; None where one of them does not exist.

    Energies in eV an atom, forces in eV/Å, stress in eV/Å^3, charges and Born charges
    in e, dipoles in e Å.
    """
    if kind == "energy":
        if sample.energy is None or prediction.energy is None:
            return None
        return np.array([prediction.energy - sample.energy]) / len(sample.structure)
    name = FIELDS.get(kind, kind)
    predicted, label = getattr(prediction, name), getattr(sample, name)
    return None if predicted is None or label is None else (predicted - label).ravel()


def floor_of(
    samples: Sequence[Sample],
    atomic_energies: dict[int, float],
    charges: dict[int, float],
) -> Errors:
    """Errors of the composition fit, zero force and stress, one charge an element.

    Dipoles and Born charges are those of the same charges, fixed; zero without any.

    Args:
        samples: with labels.
        atomic_energies: eV by atomic number.
        charges: e by atomic number; empty where training has no charge labels.
    """
    nothing = [_floor(s, atomic_energies, charges) for s in samples]
    return errors_of(nothing, samples, [k for k in KINDS if k != "charge" or charges])


def _floor(
    sample: Sample, atomic_energies: dict[int, float], charges: dict[int, float]
) -> Prediction:
    numbers, positions = sample.structure.numbers, sample.structure.positions
    fixed = np.array([charges.get(int(z), 0.0) for z in numbers])
    masses = atomic_masses[numbers]
    centre = masses @ positions / masses.sum()
    return Prediction(
        composition_energy(sample, atomic_energies),
        np.zeros_like(positions),
        None if sample.stress is None else np.zeros(6),
        fixed,
        fixed @ (positions - centre),
        fixed[:, None, None] * np.eye(3),
    )
