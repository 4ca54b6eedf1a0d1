"""Files of predictions and labels in extended XYZ format."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from bench.dataset.opening import Dataset, Sample
from bench.dataset.per_element import composition_energy
from bench.evaluation.predicting import Prediction
from bench.files import write_text


def write_predictions(
    path: Path,
    data: Dataset,
    members: Mapping[str, np.ndarray],
    predictions: Mapping[str, Sequence[Prediction]],
    atomic_energies: dict[int, float],
) -> None:
    """Writes predictions and, as `label_*`, their labels to an extended XYZ file.

    Args:
        path: of the file, written atomically.
        data: the samples.
        members: indices of samples by name of the set, such as `test`.
        predictions: one per sample, by name of the set.
        atomic_energies: eV by atomic number; their sum is stored as `floor_energy`
            with labeled energies.
    """
    frames = []
    for name, indices in members.items():
        for index, p in zip(indices, predictions[name], strict=True):
            s = data.samples[index]
            atoms = s.to_ase()
            results: dict[str, Any] = {}
            if p.energy is not None:
                results["energy"] = p.energy
            if p.forces is not None:
                results["forces"] = p.forces
            if p.stress is not None:
                results["stress"] = p.stress
            atoms.calc = SinglePointCalculator(atoms, **results)
            atoms.arrays["model_charges"] = np.asarray(p.charges, float)
            atoms.info = dict(
                id=s.id,
                index=int(index),
                group=s.group,
                part=name,
                total_charge=s.structure.total_charge,
            )
            if s.energy is not None:
                floor = composition_energy(s, atomic_energies)
                atoms.info |= {"label_energy": s.energy, "floor_energy": floor}
            if s.forces is not None:
                atoms.arrays["label_forces"] = s.forces
            if s.stress is not None:
                atoms.info |= {"label_stress": s.stress}
            if s.charges is not None:
                atoms.arrays["label_charges"] = s.charges
            _add_response(atoms, p, s)
            frames.append(atoms)
    content = io.StringIO()
    ase.io.write(content, frames, format="extxyz")
    write_text(path, content.getvalue())


def _add_response(atoms: ase.Atoms, p: Prediction, s: Sample) -> None:
    """Adds dipoles and Born charges that have both a label and a prediction."""
    if p.dipole is not None and s.dipole is not None:
        atoms.info |= {"model_dipole": p.dipole, "label_dipole": s.dipole}
    if p.born_charges is not None and s.born_charges is not None:
        flat = lambda x: np.asarray(x, float).reshape(-1, 9)
        atoms.arrays["model_born"] = flat(p.born_charges)
        atoms.arrays["label_born"] = flat(s.born_charges)
