"""Labelled structures: bundled sets, prepared ones, any file that a reader knows."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, overload

import ase
import numpy as np
from ase.data import atomic_numbers
from backbones import Structure

from bench.dataset.columns import FLAGS, LAYOUT, Columns, join
from bench.dataset.filters import Filters
from bench.dataset.merging import check_labels, digest_of, notes_of
from bench.dataset.parts import read_unit, units_of
from bench.dataset.prepared import is_prepared, is_unfinished, open_prepared
from bench.dataset.read_statistics import ReadStatistics, combined
from bench.exceptions import BenchError
from bench.execution.workers import CRASH_PRONE_FORMATS, run
from bench.labels import TRAINABLE_KINDS, field_of
from bench.sources import ReadOptions, Source, open_source

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
        dipole: e Å about the centre of mass, `(3,)`.
        born_charges: e, [atom, direction of polarisation, of displacement].
        tags: small integers that mark atoms, `(atoms,)`.
    """

    id: str
    group: str
    structure: Structure
    energy: float | None
    forces: np.ndarray | None
    stress: np.ndarray | None
    charges: np.ndarray | None
    tags: np.ndarray | None = None
    dipole: np.ndarray | None = None
    born_charges: np.ndarray | None = None

    def to_ase(self) -> ase.Atoms:
        """The bare structure as an ASE object."""
        s = self.structure
        return ase.Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.cell is not None)


class Samples(Sequence[Sample]):
    """Structures of a data set in the order of their ids, built when asked for.

    Args:
        columns: in memory or mapped.
        order: indices of the structures by id.
    """

    def __init__(self, columns: Columns, order: np.ndarray):
        self._columns, self._order = columns, order

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> "Samples": ...

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Samples(self._columns, self._order[index])
        return _sample(self._columns, int(self._order[index]))

    def __iter__(self) -> Iterator[Sample]:
        return (_sample(self._columns, int(i)) for i in self._order)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Samples in the order of their ids, so that the order of the file is irrelevant.

    Args:
        name: for people.
        columns: of all structures, in the order of the source.
        order: their indices by id.
        header: what was noted when it was read or prepared; None if it was made here.
    """

    name: str
    columns: Columns
    order: np.ndarray
    header: dict[str, Any] | None = None

    def __len__(self):
        return len(self.order)

    @property
    def samples(self) -> Samples:
        """Structures with their labels."""
        return Samples(self.columns, self.order)

    @functools.cached_property
    def ids(self) -> list[str]:
        """Ids in order."""
        return [self.columns.text("id", int(i)) for i in self.order]

    @functools.cached_property
    def groups(self) -> list[str]:
        """Group of each sample."""
        return [self.columns.text("group", int(i)) for i in self.order]

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """Atoms of each sample."""
        return self.columns.sizes[self.order]

    @property
    def atomic_energies(self) -> dict[int, float] | None:
        """Atomic energies that came with the set, eV; None: they are to be fitted."""
        noted = (self.header or {}).get("atomic_energies")
        if noted is None:
            return None
        return {atomic_numbers[k]: float(v) for k, v in noted["energies"].items()}

    @functools.cached_property
    def digest(self) -> str:
        """Hash of ids, structures and labels: which data a result belongs to."""
        return digest_of(np.asarray(self.columns.arrays["digest"]))


def load_for_training(source: str) -> Dataset:
    """A data set to train on: labels to learn from and the same kind of boundaries.

    Energies have all structures or none; forces, stress, charges and dipoles, of which
    any kind alone is enough, are used where they are; `id`, `group`, `total_charge`
    and `spin` are read where the source has them: without them a structure is numbered,
    stands alone, is neutral and of unknown spin.

    Args:
        source: a bundled set by name, a folder of `bench prepare`, or anything that
            `bench prepare` reads without being told names.

    Raises:
        BenchError: no such data, or some of it cannot be used.
    """
    data = open_dataset(source)
    has_energy = data.columns.has("energy")
    if has_energy.any() and not has_energy.all():
        first = int(np.argmin(has_energy))
        raise BenchError(
            f"{source}: {data.columns.text('id', first)!r} has no energy, as "
            f"{(~has_energy).sum()} of {len(data)} structures; name it with `bench "
            "prepare --energy-key`, or leave them out with `--require energy`."
        )
    learned = [data.columns.has(field_of(kind)) for kind in TRAINABLE_KINDS]
    bare = np.flatnonzero(~np.any(learned, axis=0))
    if len(bare):
        raise BenchError(
            f"{source}: {data.columns.text('id', int(bare[0]))!r} has no label to "
            f"learn from, as {len(bare)} of {len(data)} structures: leave them out "
            "with `bench prepare --require`, such as `--require charges`."
        )
    return _of_one_kind(data, source)


def load_for_prediction(source: str) -> Dataset:
    """A data set to predict for: any labels, the same kind of boundaries.

    Args:
        source: as for `load`.

    Raises:
        BenchError: no such data, or some of it cannot be used.
    """
    return _of_one_kind(open_dataset(source), source)


def _of_one_kind(data: Dataset, source: str) -> Dataset:
    if len(set(data.columns.arrays["periodic"].tolist())) > 1:
        raise BenchError(
            f"{source} mixes open and periodic structures: put them into two files."
        )
    return data


def open_dataset(source: str, *, strict: bool = True) -> Dataset:
    """A data set whatever labels it has.

    Args:
        source: as for `load`.
        strict: whether a structure that cannot be used is an error; else it is left
            out, and the header counts it.

    Raises:
        BenchError: no such data, or it cannot be read.

    Examples:
        >>> dataset = bench.open_dataset("mine.extxyz")
        >>> len(dataset), dataset.samples[0].energy
    """
    if is_prepared(Path(source)) or is_unfinished(Path(source)):
        found = open_prepared(Path(source))
        return Dataset(found.folder.name, found.columns, found.order, found.header)
    if source not in BUNDLED:
        return _read(source, Path(source).name.split(".")[0], ReadOptions(), strict)
    bundled = resources.files("bench") / "data" / f"{source}.extxyz.xz"
    with resources.as_file(bundled) as path:
        return _read(str(path), source, ReadOptions(dipole_origin="coordinates"), True)


def _read(source: str, name: str, reading: ReadOptions, strict: bool) -> Dataset:
    """All of a source, in memory."""
    reader = open_source(source, reading)
    work = functools.partial(_read_units, strict=strict)
    ((_, read),) = run(work, [reader], int(reader.format in CRASH_PRONE_FORMATS))
    columns = join(part for part, _ in read)
    statistics = combined(statistics for _, statistics in read)
    check_labels(statistics, {}, source)
    ids = columns.texts("id")
    order = np.argsort(ids, kind="stable")
    twice = ids[order][1:][ids[order][1:] == ids[order][:-1]]
    if len(twice):
        raise BenchError(
            f"{source} uses the id {twice[0].decode()!r} twice: ids must be unique; "
            "`bench prepare` leaves repeats out."
        )
    header = {"source": source, "read_as": reader.format, **notes_of(statistics)}
    return Dataset(name, columns, order, header)


def _read_units(reader: Source, strict: bool) -> list[tuple[Columns, ReadStatistics]]:
    return [read_unit(reader, unit, Filters(), strict) for unit in units_of(reader)]


def _sample(columns: Columns, i: int) -> Sample:
    arrays = columns.arrays
    bits = int(arrays["present"][i])
    return Sample(
        id=columns.text("id", i),
        group=columns.text("group", i),
        structure=Structure(
            columns.part("numbers", i),
            columns.part("positions", i),
            arrays["cell"][i] if arrays["periodic"][i] else None,
            float(arrays["total_charge"][i]),
            int(arrays["spin"][i]),
        ),
        energy=float(arrays["energy"][i]) if bits & FLAGS["energy"] else None,
        **_labels(columns, i, bits),
    )


def _labels(columns: Columns, i: int, bits: int) -> dict[str, np.ndarray | None]:
    """Labels in double precision; None where the structure has none."""
    found: dict[str, np.ndarray | None] = dict.fromkeys(
        ("forces", "stress", "charges", "dipole", "born_charges", "tags")
    )
    for label in found:
        if bits & FLAGS[label]:
            column = LAYOUT[label]
            values = (
                columns.part(label, i) if column.atoms else columns.arrays[label][i]
            )
            found[label] = np.asarray(values, None if label == "tags" else np.float64)
    return found
