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
from bench.labels import LABELS_BY_KIND, Label


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
            info: dict[str, Any] = dict(
                id=s.id,
                index=int(index),
                group=s.group,
                part=name,
                total_charge=s.structure.total_charge,
            )
            atoms.info = info
            _add_predictions(atoms, p, s)
            _add_labels(atoms, p, s)
            if s.energy is not None:
                info["floor_energy"] = composition_energy(s, atomic_energies)
            frames.append(atoms)
    content = io.StringIO()
    ase.io.write(content, frames, format="extxyz")
    write_text(path, content.getvalue())


def _add_predictions(atoms: ase.Atoms, p: Prediction, s: Sample) -> None:
    """Adds predictions; tensors only where there is a label to compare with."""
    results: dict[str, Any] = {}
    for label in LABELS_BY_KIND.values():
        value = p.labels.get(label.name)
        if value is None:
            continue
        if label.is_energy:
            results[label.name] = value
        elif label.name in s.labels or not label.shape:
            _add(atoms, label, "model", value)
    atoms.calc = SinglePointCalculator(atoms, **results)


def _add_labels(atoms: ase.Atoms, p: Prediction, s: Sample) -> None:
    """Adds labels; tensors only where there is a prediction to compare with."""
    for label in LABELS_BY_KIND.values():
        value = s.labels.get(label.name)
        compared = label.is_energy or not label.shape or label.name in p.labels
        if value is not None and compared:
            _add(atoms, label, "label", value)


def _add(atoms: ase.Atoms, label: Label, prefix: str, value: Any) -> None:
    """Adds values; a row of nine numbers stands for a tensor of an atom."""
    key = f"{prefix}_{label.prediction_key}"
    if not label.per_atom:
        atoms.info[key] = value
    elif len(label.shape) > 1:
        atoms.arrays[key] = np.asarray(value, float).reshape(len(atoms), -1)
    else:
        atoms.arrays[key] = np.asarray(value, float)
