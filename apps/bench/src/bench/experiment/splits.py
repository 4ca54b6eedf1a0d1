"""Which structures a run learns from and which it is tested on."""

import fnmatch
import io
from pathlib import Path
from typing import Any, get_args

import chemsplit
import numpy as np
import scipy.sparse
from chemsplit import (
    ClusterSplit,
    MaxMinSplit,
    SeedSimilaritySplit,
    SeparatedSplit,
    SizeSplit,
    Split,
    mean_soap,
)
from scipy.sparse import csr_matrix
from sklearn.model_selection import GroupShuffleSplit

from bench.dataset.opening import Dataset
from bench.exceptions import BenchError
from bench.execution.announcements import announce
from bench.files import write_bytes
from bench.settings.grid import SplitSettings, Splitting


def descriptors(data: Dataset) -> csr_matrix:
    """The published SOAP descriptor of every structure, averaged over its atoms."""
    return mean_soap([s.to_ase() for s in data.samples])


def stored_descriptors(data: Dataset, folder: Path) -> csr_matrix:
    """The descriptors of a data set, kept in a folder so that they are made once."""
    path = folder / f"descriptors-{data.digest}.npz"
    vectors = _read_descriptors(path, len(data)) if path.exists() else None
    if vectors is None:
        announce(f"describing {len(data)} structures, kept for the next time")
        vectors, content = descriptors(data), io.BytesIO()
        scipy.sparse.save_npz(content, vectors)
        write_bytes(path, content.getvalue())
    return vectors


def _read_descriptors(path: Path, rows: int) -> csr_matrix | None:
    """Stored descriptors; None where the file is damaged, to be made again."""
    try:
        with path.open("rb") as file:  # opened here: NumPy leaves a damaged file open
            vectors = csr_matrix(scipy.sparse.load_npz(file))
        vectors.check_format(full_check=True)
        whole = len(vectors.indptr) == rows + 1 and np.isfinite(vectors.data).all()
    except Exception:  # zip files are damaged in many ways
        return None
    return vectors if whole else None


class MarkedSplit:
    """Trains on unmarked structures and tests on marked ones; groups stay whole.

    Its descriptors are the marks, one column that is zero where there is none.

    Args:
        complaint: a sentence for where all structures are marked, or none, with a gap.
        every: what fills the gap where all are.
        none: what fills it where none is.
    """

    def __init__(self, complaint: str, every: str, none: str):
        self.complaint, self.every, self.none = complaint, every, none

    def __repr__(self):
        return f"MarkedSplit({self.complaint!r}, {self.every!r}, {self.none!r})"

    def split(self, X, y=None, groups=None):
        """Yields the one such split.

        Raises:
            BenchError: all structures, or none, are marked.
        """
        del y
        marks = np.ravel(X) != 0
        if groups is not None:
            marks = np.isin(groups, np.asarray(groups)[marks])
        if marks.all() or not marks.any():
            found = self.every if marks.any() else self.none
            raise BenchError(self.complaint.format(found))
        yield np.flatnonzero(~marks), np.flatnonzero(marks)


def split_data(
    data: Dataset, vectors: csr_matrix, kind: str, settings: SplitSettings, seed: int
) -> Split:
    """A split by id that keeps every group together.

    Args:
        data: what to split.
        vectors: one descriptor a sample.
        kind: of split, see `_splitter`.
        settings: shares and number of clusters.
        seed: decides the draw.

    Raises:
        BenchError: there are too few structures or groups for it.
    """
    _check_groups(data, kind, settings)
    splitter = _splitter(kind, settings, len(set(data.groups)))
    if kind == "size":
        known = np.array([[len(s.structure)] for s in data.samples], float)
    elif kind == "named":
        pattern = settings.test_ids or ""
        known = np.array([[fnmatch.fnmatchcase(id, pattern)] for id in data.ids], float)
    elif kind == "charge":
        known = np.round([[s.structure.total_charge] for s in data.samples])
    else:
        known = vectors
    try:
        return chemsplit.make_split(
            splitter,
            known,
            data.ids,
            data.groups,
            validation_fraction=settings.validation_share,
            seed=seed,
            name=kind,
            settings={"descriptor": "mean SOAP", **settings.model_dump()},
        )
    except ValueError as error:
        raise BenchError(f"The {kind} split cannot be made: {error}") from error


def make_split(
    dataset: Dataset,
    kind: str = "random",
    *,
    seed: int = 0,
    settings: SplitSettings | None = None,
) -> Split:
    """Splits a data set into training, validation and test structures, groups intact.

    Args:
        dataset: from `open_dataset`.
        kind: a name of the `splits` of a grid, such as `cluster`.
        seed: of the random draw.
        settings: shares of the parts and options of single kinds; None for the defaults
            of a grid.

    Returns:
        Ids of the three parts. `split.save(path)` writes them,
        `split.indices(dataset.ids)` gives row numbers.

    Raises:
        BenchError: there is no such kind, or the data cannot be split by it.

    Examples:
        >>> dataset = bench.open_dataset("mine.extxyz")
        >>> split = bench.make_split(dataset, "random", seed=1)
        >>> split.save("split.json")
        >>> train, validation, test = split.indices(dataset.ids)
    """
    kinds = get_args(Splitting)
    if kind not in kinds:
        raise BenchError(f"There is no split {kind!r}: choose {', '.join(kinds)}.")
    chosen = SplitSettings() if settings is None else settings
    described = kind not in ("random", "size", "charge", "named")
    rows = descriptors(dataset) if described else csr_matrix((len(dataset), 1))
    return split_data(dataset, rows, kind, chosen, seed)


def _check_groups(data: Dataset, kind: str, settings: SplitSettings) -> None:
    """Refuses data too few to train, validate and test on."""
    groups = len(set(data.groups))
    if groups < 3:
        kinds = "structure" if groups == len(data) else "group of structures"
        raise BenchError(
            f"{data.name} has {groups} {kinds}{'s' * (groups > 1)}, and a split needs "
            "three at least: to train, to validate and to test on."
        )
    if kind in ("charge", "named") or (kind == "size" and settings.max_train):
        return
    # The others count structures, and keep groups whole as well as they can.
    number, what = (groups, "groups") if kind == "random" else (len(data), "structures")
    left = number - int(np.ceil(settings.test_share * number))
    if left < 2:
        raise BenchError(
            f"split.test_share={settings.test_share:g} leaves {left} of {number} "
            f"{what} to training and validation, which need one each: lower it."
        )


def _splitter(kind: str, settings: SplitSettings, groups: int) -> Any:
    """The splitter of a kind, with its test part drawn or chosen.

    Random; K-means clusters; the largest; the least similar to one structure, as
    published; mutually far ones; least similar across the cut; the charged; the named.
    """
    share = settings.test_share
    clusters = min(settings.clusters, groups)
    return {
        "random": lambda: GroupShuffleSplit(1, test_size=share),
        "cluster": lambda: ClusterSplit(
            1, n_clusters=clusters, test_size=share, fraction_of=settings.share_of
        ),
        "size": lambda: (
            SizeSplit(max_train=settings.max_train)
            if settings.max_train
            else SizeSplit(test_size=share)
        ),
        "similarity": lambda: SeedSimilaritySplit(1, test_size=share),
        "farthest": lambda: MaxMinSplit(1, test_size=share),
        "separated": lambda: SeparatedSplit(1, test_size=share),
        "charge": lambda: MarkedSplit(
            "The charge split needs neutral and charged structures, and all are {}: "
            "choose another split.",
            "charged",
            "neutral",
        ),
        "named": lambda: MarkedSplit(
            "The named split tests on ids that split.test_ids matches, and it matches "
            "{}: give another pattern.",
            "all",
            "none",
        ),
    }[kind]()
