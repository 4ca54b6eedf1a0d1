"""Structures to simulate: of files, or of those that models were tested on."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np
from backbones import Structure

from bench.dynamics.checks.causes import fragments
from bench.dynamics.study.models import Model, check_elements, told_apart
from bench.dynamics.study.structure_files import read_frames
from bench.evaluation.run_files import read_held_out_structures, read_test_ids
from bench.exceptions import BenchError, one_line

# A cell flatter than this needs millions of images of each atom.
_THINNEST = 0.5

_LONGEST_NAME = 120
"""Bytes of a name of a folder; file systems take 255."""


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A structure to simulate.

    Args:
        name: for tables and folders.
        structure: atoms, cell, charge and spin.
    """

    name: str
    structure: Structure

    @property
    def atoms(self) -> ase.Atoms:
        """As an ASE object."""
        s = self.structure
        return ase.Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.cell is not None)


ALL = "all"
"""Every structure of a file with several."""


def read_cases(
    files: Sequence[Path],
    total_charge: float | None,
    spin: int,
    frames: str | None = None,
) -> list[Case]:
    """Structures of files.

    Args:
        files: as `read_frames` reads them.
        total_charge: e; None takes `total_charge` of the file, and 0 without it.
        spin: multiplicity, 0 where unknown.
        frames: which structure of each file, counted from 0, or `ALL`; None where no
            file has several.

    Raises:
        BenchError: a file cannot be read or has more structures than `frames` says,
            boundaries are mixed, or a cell is no cell of a crystal.
    """
    cases = []
    for path in files:
        charged = total_charge is None
        for name, atoms in _chosen(path, read_frames(path, charged=charged), frames):
            charge = total_charge
            if charge is None:
                charge = atoms.info.get("total_charge", 0.0)
            try:
                structure = Structure.from_ase(atoms, total_charge=charge, spin=spin)
            except ValueError as error:
                raise BenchError(f"{path}: {one_line(error)}") from error
            _check_cell(path, structure.cell)
            cases.append(Case(name, structure))
    names = [case.name for case in cases]
    return [
        case
        if names.count(case.name) == 1
        else dataclasses.replace(case, name=f"{case.name}-{i}")
        for i, case in enumerate(cases)
    ]


def _chosen(
    path: Path, every: list[ase.Atoms], frames: str | None
) -> list[tuple[str, ase.Atoms]]:
    """Names and structures of a file."""
    name = _file_name(path.name.split(".")[0]) or "structure"
    if len(every) == 1 and frames in (None, ALL, "0"):
        return [(name, every[0])]
    if frames is None:
        raise BenchError(
            f"{path} holds {len(every)} structures: say which to simulate, --frames N "
            f"(from 0 to {len(every) - 1}) or --frames {ALL}."
        )
    if frames == ALL:
        return [(f"{name}-{i}", atoms) for i, atoms in enumerate(every)]
    if int(frames) >= len(every):
        raise BenchError(
            f"{path} has no frame {frames}: it holds {len(every)} structures, counted "
            "from 0."
        )
    return [(f"{name}-{int(frames)}", every[int(frames)])]


def _check_cell(path: Path, cell: np.ndarray | None) -> None:
    if cell is None:
        return
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    if heights.min() < _THINNEST:
        raise BenchError(
            f"{path}: one height of the cell is {heights.min():.2g} Å, and a crystal "
            f"needs {_THINNEST:g} Å: check the cell's unit, or set pbc='F F F' for a "
            "molecule."
        )


Pair = tuple[Model, Case]


def paired(models: Sequence[Model], cases: Sequence[Case]) -> list[Pair]:
    """Every model with every structure, or with structures it was tested on.

    Two structures of the test part where all models are of the same data; one each
    where there are several data sets.

    Args:
        models: of `bench run`, if there are no cases.
        cases: to simulate, or none.

    Raises:
        BenchError: a model does not know an element, or there is nothing to simulate.
    """
    groups: list[tuple[Sequence[Model], Sequence[Case]]] = [(models, cases)]
    if not cases:
        kinds = list(dict.fromkeys(model.data for model in models))
        by_data = [[model for model in models if model.data == kind] for kind in kinds]
        count = 2 if len(kinds) == 1 else 1
        groups = [(group, choose_cases(group, count)) for group in by_data]
    pairs = [
        (model, case)
        for group, own in groups
        for case in own
        for model in told_apart(group)
    ]
    for model, case in pairs:
        check_elements(model, case.name, case.structure.numbers.tolist())
    return pairs


def choose_cases(models: Sequence[Model], count: int) -> list[Case]:
    """Structures of medium size that all models were tested on, of different groups.

    Those of elements that many others hold come first, of these the ones nearest to
    rest, by their labels, and in one piece. Where the data have charged ones, one of
    the chosen is charged; with more than one, another one is neutral.

    Args:
        models: of `bench run`, on the same data.
        count: how many at most.

    Raises:
        BenchError: there is none.
    """
    for model in models:
        if model.data is None:
            raise BenchError(
                f"{model.name} is a file without data: name structures with "
                "--structure."
            )
    ids = set.intersection(*(read_test_ids(model.path) for model in models))
    frames = read_held_out_structures(models[0].path)
    shared = [atoms for atoms in frames if atoms.info["id"] in ids]
    if not shared:
        raise BenchError(
            "No structure is in the test part of all these models: name some with "
            "--structure."
        )
    middle = float(np.median([len(atoms) for atoms in shared]))
    rare = _rare_elements(shared)
    shared.sort(
        key=lambda a: (
            bool(rare & set(a.numbers.tolist())),
            abs(len(a) - middle) > 0.3 * middle,
            _strain(a),
            str(a.info["id"]),
        )
    )
    return [
        Case(
            _file_name(str(atoms.info["id"])),
            Structure.from_ase(
                atoms,
                total_charge=float(atoms.info["total_charge"]),
                spin=int(atoms.info.get("spin", 0)),
            ),
        )
        for atoms in _different(shared, count)
    ]


def _strain(atoms: ase.Atoms) -> float:
    """The largest labelled force, eV/Å: a simulation begins where it is small."""
    forces = atoms.arrays.get("label_forces")
    return 0.0 if forces is None else float(np.linalg.norm(forces, axis=1).max())


def _rare_elements(frames: list[ase.Atoms]) -> set[int]:
    """Those that fewer than a quarter of the structures hold."""
    counts = np.zeros(120, int)
    for atoms in frames:
        counts[np.unique(atoms.numbers)] += 1
    return set(np.flatnonzero((counts > 0) & (counts < 0.25 * len(frames))).tolist())


def _different(shared: list[ase.Atoms], count: int) -> list[ase.Atoms]:
    """The first of each kind and group: charged, neutral, then any."""
    charged = lambda atoms: atoms.info["total_charge"] != 0
    chosen: list[ase.Atoms] = []

    def take(candidates: list[ase.Atoms]) -> None:
        groups = {atoms.info["group"] for atoms in chosen}
        left = [a for a in candidates if a.info["group"] not in groups]
        whole = (atoms for atoms in left if fragments(atoms) == 1)
        if left and len(chosen) < count:
            chosen.append(next(whole, left[0]))

    take([atoms for atoms in shared if charged(atoms)])
    take([atoms for atoms in shared if not charged(atoms)])
    while len(chosen) < count:
        before = len(chosen)
        take(shared)
        if len(chosen) == before:
            break
    return chosen


def _file_name(name: str) -> str:
    """A name for a folder; long ones keep their beginning and a hash of the whole."""
    plain = "".join(c if c.isalnum() or c in "-_.+" else "_" for c in name)
    if len(plain.encode()) <= _LONGEST_NAME:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return plain.encode()[: _LONGEST_NAME - 9].decode(errors="ignore") + f"-{digest}"
