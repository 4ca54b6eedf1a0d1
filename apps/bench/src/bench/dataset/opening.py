"""Opening of datasets: bundled, prepared, or any file that a reader supports."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, overload

import ase
import numpy as np
from ase.data import atomic_numbers
from backbones import Structure
from scipy import sparse

from bench.dataset.columns import FLAGS, Columns
from bench.dataset.composition import count_elements
from bench.dataset.merging import digest_of
from bench.dataset.prepared import is_prepared, is_unfinished, open_prepared
from bench.dataset.reading import read_columns
from bench.exceptions import BenchError
from bench.labels import LABELS, TRAINABLE_KINDS, Labeled, field_of
from bench.sources import ReadOptions

BUNDLED = ("frameworks", "ions")


@dataclasses.dataclass(frozen=True)
class Sample(Labeled):
    """One labeled structure. Labels are also attributes, such as `sample.forces`.

    Args:
        id: unique in the dataset.
        group: material or molecule; splits do not separate the structures of a group.
        structure: atoms, cell, charge.
        labels: values by name, see `bench.labels`, in double precision.
    """

    id: str
    group: str
    structure: Structure
    labels: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_ase(self) -> ase.Atoms:
        """Returns the structure as an ASE object, without labels."""
        s = self.structure
        return ase.Atoms(s.numbers, s.positions, cell=s.cell, pbc=s.cell is not None)


class Samples(Sequence[Sample]):
    """A lazy sequence of the structures of a dataset, sorted by id.

    Args:
        columns: in memory or memory-mapped.
        order: indices of the structures, sorted by id.
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
    """Labeled structures, sorted by id so that the order of the source is irrelevant.

    Args:
        name: for messages and tables.
        columns: of all structures, in the order of the source.
        order: indices of the structures, sorted by id.
        header: how the source was read; None for datasets built in Python.
        folder: of a prepared dataset; None for others.
    """

    name: str
    columns: Columns
    order: np.ndarray
    header: dict[str, Any] | None = None
    folder: Path | None = None

    def __len__(self):
        return len(self.order)

    @property
    def samples(self) -> Samples:
        """All structures with their labels."""
        return Samples(self.columns, self.order)

    @functools.cached_property
    def ids(self) -> list[str]:
        """Id of each sample."""
        texts = self.columns.decoded_texts("id")
        return [texts[i] for i in self.order.tolist()]

    @functools.cached_property
    def groups(self) -> list[str]:
        """Group of each sample."""
        texts = self.columns.decoded_texts("group")
        return [texts[i] for i in self.order.tolist()]

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """Number of atoms of each sample."""
        return self.columns.sizes[self.order]

    @functools.cached_property
    def element_counts(self) -> sparse.csr_array:
        """Number of atoms of each element in each sample, `(samples, 119)`."""
        return count_elements(self.columns)[self.order]

    @property
    def total_charges(self) -> np.ndarray:
        """Total charge of each sample, e."""
        return np.asarray(self.columns.arrays["total_charge"])[self.order]

    def has(self, label: str) -> np.ndarray:
        """Returns a mask of the samples that have a label.

        Args:
            label: one of `LABELS`.
        """
        return self.columns.has(label)[self.order]

    @property
    def atomic_energies(self) -> dict[int, float] | None:
        """Energies of isolated atoms stored with the dataset, eV by atomic number.

        None if they are to be fitted to the training set.
        """
        stored = (self.header or {}).get("atomic_energies")
        if stored is None:
            return None
        return {atomic_numbers[k]: float(v) for k, v in stored["energies"].items()}

    @functools.cached_property
    def digest(self) -> str:
        """Hash of ids, structures and labels, stored with results."""
        return digest_of(np.asarray(self.columns.arrays["digest"]))


def load_for_training(source: str) -> Dataset:
    """Opens a dataset for training.

    Checks that every structure has at least one trainable label, that all or
    none have an energy, and that all are periodic or all open.

    Args:
        source: name of a bundled dataset, folder of a prepared one, or a file or folder
            with the default keys of its format. Structures without `id` are numbered,
            without `group` they are their own group, without `total_charge` they are
            neutral.

    Raises:
        BenchError: the data do not exist or fail a check.
    """
    data = open_dataset(source)
    has_energy = data.columns.has("energy")
    if has_energy.any() and not has_energy.all():
        first = int(np.argmin(has_energy))
        raise BenchError(
            f"{source}: {data.columns.text('id', first)!r} has no energy, as "
            f"{(~has_energy).sum()} of {len(data)} structures; set its key, `bench "
            "prepare ... -o keys.energy=KEY`, or leave them out, "
            "`-o filters.require=[energy]`."
        )
    labels = [data.columns.has(field_of(kind)) for kind in TRAINABLE_KINDS]
    unlabeled = np.flatnonzero(~np.any(labels, axis=0))
    if len(unlabeled):
        first = data.columns.text("id", int(unlabeled[0]))
        raise BenchError(
            f"{source}: {first!r} has no label to train on, as {len(unlabeled)} of "
            f"{len(data)} structures: leave them out with `bench prepare`, such as "
            "`-o filters.require=[charges]`."
        )
    return _check_boundaries(data, source)


def load_for_prediction(source: str) -> Dataset:
    """Opens a dataset for prediction: all structures are periodic or all are open.

    Args:
        source: as for `load_for_training`; needs no labels.

    Raises:
        BenchError: the data do not exist or cannot be used.
    """
    return _check_boundaries(open_dataset(source), source)


def _check_boundaries(data: Dataset, source: str) -> Dataset:
    if len(set(data.columns.arrays["periodic"].tolist())) > 1:
        raise BenchError(
            f"{source} mixes open and periodic structures: put them into two files."
        )
    return data


def open_dataset(source: str, *, strict: bool = True) -> Dataset:
    """Opens a dataset without checking its labels.

    Args:
        source: as for `load_for_training`.
        strict: whether a structure that cannot be used is an error; otherwise it is
            left out and counted in the header.

    Raises:
        BenchError: the data do not exist or cannot be read.

    Examples:
        >>> dataset = bench.open_dataset("mine.extxyz")
        >>> len(dataset), dataset.samples[0].energy
    """
    if is_prepared(Path(source)) or is_unfinished(Path(source)):
        opened = open_prepared(Path(source))
        name, folder = opened.folder.name, opened.folder
        return Dataset(name, opened.columns, opened.order, opened.header, folder)
    if source not in BUNDLED:
        name = Path(source).name.split(".")[0]
        return Dataset(name, *read_columns(source, ReadOptions(), strict))
    bundled = resources.files("bench") / "data" / f"{source}.extxyz.xz"
    with resources.as_file(bundled) as path:
        options = ReadOptions(dipole_origin="coordinates")
        return Dataset(source, *read_columns(str(path), options, strict=True))


def _sample(columns: Columns, i: int) -> Sample:
    arrays = columns.arrays
    bits = int(arrays["present"][i])
    return Sample(
        id=columns.text("id", i),
        group=columns.text("group", i),
        structure=Structure(
            columns.values("numbers", i),
            columns.values("positions", i),
            arrays["cell"][i] if arrays["periodic"][i] else None,
            float(arrays["total_charge"][i]),
            int(arrays["spin"][i]),
        ),
        labels=_labels(columns, i, bits),
    )


def _labels(columns: Columns, i: int, bits: int) -> dict[str, Any]:
    """Returns the labels that a structure has, in double precision."""
    labels: dict[str, Any] = {}
    for name, label in LABELS.items():
        if label.is_input or not bits & FLAGS[name]:
            continue
        per_atom = label.per_atom
        values = columns.values(name, i) if per_atom else columns.arrays[name][i]
        if label.shape or per_atom:
            labels[name] = np.asarray(values, None if label.limits else np.float64)
        else:
            labels[name] = float(values)
    return labels
