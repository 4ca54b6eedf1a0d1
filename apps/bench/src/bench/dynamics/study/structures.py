"""Initial structures: from files, or from the test sets of the models."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import ase
import numpy as np
from backbones import Structure

from bench.dynamics.checks.stability import count_fragments
from bench.dynamics.study.models import Model, check_elements, with_unique_names
from bench.dynamics.study.structure_files import read_frames
from bench.evaluation.run_files import read_held_out_structures, read_test_ids
from bench.exceptions import BenchError, one_line
from bench.settings.simulation import StructureSettings

# Smallest height of a cell, Å; flatter cells have millions of images within the cutoff.
_MIN_HEIGHT = 0.5

_MAX_NAME_BYTES = 120
"""Of a folder's name; file systems allow 255."""


@dataclasses.dataclass(frozen=True, eq=False)
class InitialStructure:
    """A structure to simulate.

    Args:
        name: name of the structure in tables and folders.
        structure: atoms, cell, total charge and spin.
    """

    name: str
    structure: Structure

    @property
    def atoms(self) -> ase.Atoms:
        """As an ASE object."""
        s = self.structure
        return ase.Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.cell is not None)


def read_structures(settings: StructureSettings) -> list[InitialStructure]:
    """Reads initial structures from files.

    Args:
        settings: files, the structures in them, their total charge and spin.

    Raises:
        BenchError: a file cannot be read or contains other numbers of structures,
            boundaries are mixed, or a cell is flat.
    """
    structures = []
    for path in settings.files:
        atoms_list = read_frames(path, charged=settings.total_charge is None)
        for name, atoms in _select(path, atoms_list, settings.frames):
            charge = settings.total_charge
            if charge is None:
                charge = atoms.info.get("total_charge", 0.0)
            try:
                structure = Structure.from_ase(
                    atoms, total_charge=charge, spin=settings.spin
                )
            except ValueError as error:
                raise BenchError(f"{path}: {one_line(error)}") from error
            _check_cell(path, structure.cell)
            structures.append(InitialStructure(name, structure))
    names = [initial.name for initial in structures]
    return [
        initial
        if names.count(initial.name) == 1
        else dataclasses.replace(initial, name=f"{initial.name}-{i}")
        for i, initial in enumerate(structures)
    ]


def _select(
    path: Path, atoms_list: list[ase.Atoms], frames: int | Literal["all"] | None
) -> list[tuple[str, ase.Atoms]]:
    """Returns names and atoms of the selected structures of a file."""
    name = _folder_name(path.name.split(".")[0]) or "structure"
    count = len(atoms_list)
    if count == 1 and frames in (None, "all", 0):
        return [(name, atoms_list[0])]
    if frames is None:
        raise BenchError(
            f"{path} contains {count} structures: select one with structures.frames, "
            f"-o structures.frames=0 to {count - 1}, or all."
        )
    if frames == "all":
        return [(f"{name}-{i}", atoms) for i, atoms in enumerate(atoms_list)]
    if frames >= count:
        raise BenchError(
            f"{path} has no frame {frames}: it contains {count} structures, counted "
            "from 0."
        )
    return [(f"{name}-{frames}", atoms_list[frames])]


def _check_cell(path: Path, cell: np.ndarray | None) -> None:
    if cell is None:
        return
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    if heights.min() < _MIN_HEIGHT:
        raise BenchError(
            f"{path}: one height of the cell is {heights.min():.2g} Å, the smallest "
            f"allowed is {_MIN_HEIGHT:g} Å: check the cell's unit, or set pbc='F F F' "
            "for a molecule."
        )


SimulationInputs = tuple[Model, InitialStructure]
"""A model and a structure to simulate with it."""


def list_simulations(
    models: Sequence[Model], structures: Sequence[InitialStructure]
) -> list[SimulationInputs]:
    """Returns every model with every structure, or with structures of its test set.

    Without structures, two are chosen from the test set if all models are trained on
    the same data, else one for each data set.

    Args:
        models: models of `bench run` if there are no structures.
        structures: structures to simulate; may be empty.

    Raises:
        BenchError: a model was not trained on an element, or no structure can be
            chosen.
    """
    groups: list[tuple[Sequence[Model], Sequence[InitialStructure]]]
    groups = [(models, structures)]
    if not structures:
        datasets = list(dict.fromkeys(model.data for model in models))
        by_data = [[m for m in models if m.data == data] for data in datasets]
        count = 2 if len(datasets) == 1 else 1
        groups = [(group, choose_structures(group, count)) for group in by_data]
    simulations = [
        (model, initial)
        for group, group_structures in groups
        for initial in group_structures
        for model in with_unique_names(group)
    ]
    for model, initial in simulations:
        check_elements(model, initial.name, initial.structure.numbers.tolist())
    return simulations


def choose_structures(models: Sequence[Model], count: int) -> list[InitialStructure]:
    """Chooses structures of medium size from the test sets of all models.

    Structures with common elements come first, sorted by their largest labeled force;
    connected ones are preferred, and all are of different groups. If the data contain
    charged structures, one of them is chosen, and a neutral one if `count` exceeds one.

    Args:
        models: models of `bench run`, trained on the same data.
        count: largest number of structures.

    Raises:
        BenchError: there is none.
    """
    for model in models:
        if model.data is None:
            raise BenchError(
                f"{model.name} is a file without data: pass structures with "
                "--structure."
            )
    ids = set.intersection(*(read_test_ids(model.path) for model in models))
    frames = read_held_out_structures(models[0].path)
    shared = [atoms for atoms in frames if atoms.info["id"] in ids]
    if not shared:
        raise BenchError(
            "No structure is in the test set of all these models: pass some with "
            "--structure."
        )
    median = float(np.median([len(atoms) for atoms in shared]))
    rare = _rare_elements(shared)
    shared.sort(
        key=lambda a: (
            bool(rare & set(a.numbers.tolist())),
            abs(len(a) - median) > 0.3 * median,
            _largest_force(a),
            str(a.info["id"]),
        )
    )
    return [
        InitialStructure(
            _folder_name(str(atoms.info["id"])),
            Structure.from_ase(
                atoms,
                total_charge=float(atoms.info["total_charge"]),
                spin=int(atoms.info.get("spin", 0)),
            ),
        )
        for atoms in _of_different_groups(shared, count)
    ]


def _largest_force(atoms: ase.Atoms) -> float:
    """The largest labeled force, eV/Å; 0 without labels."""
    forces = atoms.arrays.get("label_forces")
    return 0.0 if forces is None else float(np.linalg.norm(forces, axis=1).max())


def _rare_elements(frames: list[ase.Atoms]) -> set[int]:
    """Elements that occur in fewer than a quarter of the structures."""
    counts = np.zeros(120, int)
    for atoms in frames:
        counts[np.unique(atoms.numbers)] += 1
    return set(np.flatnonzero((counts > 0) & (counts < 0.25 * len(frames))).tolist())


def _of_different_groups(candidates: list[ase.Atoms], count: int) -> list[ase.Atoms]:
    """Chooses the first charged structure, the first neutral one, then any."""
    charged = lambda atoms: atoms.info["total_charge"] != 0
    chosen: list[ase.Atoms] = []

    def choose_one(allowed: list[ase.Atoms]) -> None:
        groups = {atoms.info["group"] for atoms in chosen}
        remaining = [a for a in allowed if a.info["group"] not in groups]
        connected = (atoms for atoms in remaining if count_fragments(atoms) == 1)
        if remaining and len(chosen) < count:
            chosen.append(next(connected, remaining[0]))

    choose_one([atoms for atoms in candidates if charged(atoms)])
    choose_one([atoms for atoms in candidates if not charged(atoms)])
    while len(chosen) < count:
        before = len(chosen)
        choose_one(candidates)
        if len(chosen) == before:
            break
    return chosen


def _folder_name(name: str) -> str:
    """Replaces special characters; long names end in a hash of the original name."""
    plain = "".join(c if c.isalnum() or c in "-_.+" else "_" for c in name)
    if len(plain.encode()) <= _MAX_NAME_BYTES:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return plain.encode()[: _MAX_NAME_BYTES - 9].decode(errors="ignore") + f"-{digest}"
