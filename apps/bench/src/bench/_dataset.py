"""Labelled structures: the bundled sets and any extxyz file."""

import dataclasses
import hashlib
import io
from importlib import resources
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.io.formats import open_with_compression
from backbones import Structure

from ._errors import BenchError

BUNDLED = ("frameworks", "ions")


@dataclasses.dataclass(frozen=True)
class Sample:
    """One labelled structure; labels that do not exist are None.

    Args:
        id: unique in the data set.
        group: material or species; frames of one group stay together in a split.
        structure: atoms, cell, charge.
        energy: eV.
        forces: eV/Å, `(atoms, 3)`.
        stress: eV/Å^3, ASE's sign and Voigt order.
        charges: e, `(atoms,)`.
    """

    id: str
    group: str
    structure: Structure
    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None
    charges: np.ndarray | None

    def to_ase(self) -> ase.Atoms:
        """The bare structure as an ASE object."""
        s = self.structure
        return ase.Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.cell is not None)


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Samples in order of their ids, so that the order of the file is irrelevant."""

    name: str
    samples: tuple[Sample, ...]

    def __len__(self):
        return len(self.samples)

    @property
    def ids(self) -> list[str]:
        """Ids in order."""
        return [s.id for s in self.samples]

    @property
    def groups(self) -> list[str]:
        """Group of each sample."""
        return [s.group for s in self.samples]

    @property
    def digest(self) -> str:
        """Hash of ids, structures and energies: which data a result belongs to."""
        total = hashlib.sha256()
        for s in self.samples:
            total.update(f"{s.id} {s.group} {s.energy:.9g}".encode())
            total.update(s.structure.numbers.tobytes())
            total.update(np.round(s.structure.positions, 6).tobytes())
        return total.hexdigest()[:16]


def load(source: str) -> DataSet:
    """A bundled data set by name, or the extxyz file at a path.

    Every frame needs an energy; forces, stress and charges are used where all frames
    have them. `id`, `group` and `total_charge` are read from a frame's info: without
    them a frame is numbered, stands alone and is neutral.

    Raises:
        BenchError: no such file, no frames, a frame that cannot be used.
    """
    path, name = _find(source)
    try:
        # Unpacked once: the reader seeks, which starts a compressed file over again.
        with open_with_compression(str(path)) as file:
            text = io.StringIO(file.read())
        frames = list(ase.io.iread(text, index=":", format="extxyz"))
    except Exception as error:  # readers raise whatever the text runs them into
        raise BenchError(
            f"{source} cannot be read as extxyz ({type(error).__name__}: {error}): "
            "check that it is a complete extended XYZ file."
        ) from error
    if not frames:
        raise BenchError(
            f"{source} holds no structures: give a file with labelled frames."
        )
    samples = [_sample(f, i, source) for i, f in enumerate(frames)]
    _check_whole(samples, source)
    return DataSet(name, tuple(sorted(samples, key=lambda s: s.id)))


def _find(source: str) -> tuple[Path, str]:
    if source in BUNDLED:
        return Path(
            str(resources.files("bench") / "data" / f"{source}.extxyz.xz")
        ), source
    path = Path(source)
    if not path.is_file():
        raise BenchError(
            f"There is no data set {source!r}: give the path of an extxyz file, or "
            f"one of {', '.join(BUNDLED)}."
        )
    if path.stat().st_size == 0:
        raise BenchError(f"{source} is empty: give a file with labelled frames.")
    return path, path.name.split(".")[0]


def _sample(atoms: ase.Atoms, index: int, source: str) -> Sample:
    where = f"Frame {index} of {source}"
    known = {} if atoms.calc is None else atoms.calc.results
    if "energy" not in known:
        raise BenchError(
            f"{where} has no energy: every frame needs `energy=...` (eV) in its "
            "comment line."
        )
    charge = atoms.info.get("total_charge", 0)
    try:
        structure = Structure.from_ase(
            atoms, total_charge=float(charge), spin=int(atoms.info.get("spin", 0))
        )
    except ValueError as error:
        raise BenchError(f"{where}: {error}") from error
    labels = {k: _label(known.get(k)) for k in ("forces", "stress", "charges")}
    for name, values in {"energy": known["energy"], **labels}.items():
        if values is not None and not np.isfinite(values).all():
            raise BenchError(
                f"{where}: {name} is not finite; remove or mend the frame."
            )
    number = f"{index:07d}"
    name = str(atoms.info.get("id", number))
    group = str(atoms.info.get("group", name))
    return Sample(name, group, structure, float(known["energy"]), **labels)


def _label(values) -> np.ndarray | None:
    return None if values is None else np.asarray(values, np.float64)


def _check_whole(samples: list[Sample], source: str) -> None:
    ids = [s.id for s in samples]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise BenchError(f"{source} uses the id {twice!r} twice: ids must be unique.")
    if len({s.structure.cell is None for s in samples}) > 1:
        raise BenchError(
            f"{source} mixes open and periodic structures: put them into two files."
        )
    if any(s.forces is None for s in samples) and any(
        s.forces is not None for s in samples
    ):
        missing = next(s.id for s in samples if s.forces is None)
        raise BenchError(
            f"{source}: {missing!r} has no forces while others have; give all or none."
        )
