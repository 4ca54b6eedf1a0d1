"""Implementation of the commands, imported only when one is run."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit

from ._atomic_write import require_folder
from ._chemistry import element_labels
from ._cluster_split import ClusterSplit, cluster_labels
from ._composition import Composition
from ._describe import Descriptor, describe
from ._descriptor_table import DescriptorTable
from ._leakage import Leakage, leakage
from ._make_split import make_split
from ._map import chemical_map
from ._max_min_split import MaxMinSplit
from ._mbtr import Mbtr
from ._panels import plot_splits
from ._read import read_structures
from ._seed_similarity_split import SeedSimilaritySplit
from ._separated_split import SeparatedSplit
from ._size_split import SizeSplit
from ._soap import MeanSoap
from ._split import Split

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_figure(out: Path) -> None:
    """Raise ValueError, before any work, if a figure cannot be written to a path."""
    from matplotlib.backend_bases import FigureCanvasBase

    require_folder(out)
    if out.suffix[1:].lower() not in FigureCanvasBase.get_supported_filetypes():
        raise ValueError(
            f"A figure cannot be written to {out}; use .png, .pdf or .svg."
        )


def make_descriptor(
    kind: str, *, r_cut: float | None = None, compression: Any = "off"
) -> Descriptor:
    """Return the descriptor of a kind."""
    cutoff: dict[str, Any] = {} if r_cut is None else {"r_cut": r_cut}
    if kind == "mean-soap":
        return MeanSoap(**cutoff, compression=compression)
    if compression != "off" or (kind == "composition" and r_cut is not None):
        raise ValueError(f"{kind} has no such setting; leave it out.")
    return Mbtr(**cutoff) if kind == "mbtr" else Composition()


def describe_files(
    paths: Sequence[Path],
    descriptor: Descriptor,
    *,
    keys: tuple[str | None, str | None] = (None, None),
    **options: Any,
) -> DescriptorTable:
    """Read structures from files and compute their descriptors."""
    structures = read_structures(paths, id_key=keys[0], group_key=keys[1])
    groups = structures.groups
    return DescriptorTable(
        X=describe(structures.atoms, descriptor, **options),
        ids=tuple(structures.ids),
        numbers=tuple(atoms.numbers for atoms in structures.atoms),
        groups=None if groups is None else tuple(groups),
        settings={"descriptor": repr(descriptor)},
    )


def make_splitter(
    kind: str,
    test_fraction: float,
    *,
    grouped: bool,
    n_clusters: int,
    max_train: int | None,
    n_candidates: int | None,
    criterion: Literal["mean", "nearest"],
) -> Any:
    """Return the splitter of a kind."""
    if max_train is not None and kind != "size":
        raise ValueError(
            f"`--max-train` applies to size splits, got a {kind} split; leave it out."
        )
    if n_candidates is not None and kind != "seed-similarity":
        raise ValueError(
            "`--candidates` applies to seed-similarity splits, got a "
            f"{kind} split; leave it out."
        )
    random = GroupShuffleSplit if grouped else ShuffleSplit
    size = test_fraction
    constructors = {
        "random": lambda: random(1, test_size=size),
        "size": lambda: (
            SizeSplit(test_size=size)
            if max_train is None
            else SizeSplit(max_train=max_train)
        ),
        "cluster": lambda: ClusterSplit(1, n_clusters=n_clusters, test_size=size),
        "seed-similarity": lambda: SeedSimilaritySplit(
            n_candidates=n_candidates, test_size=size
        ),
        "max-min": lambda: MaxMinSplit(test_size=size),
        "separated": lambda: SeparatedSplit(criterion=criterion, test_size=size),
    }
    return constructors[kind]()


def split(
    splitter: Any,
    table: DescriptorTable,
    kind: str,
    *,
    seed: int,
    validation_fraction: float,
) -> Split:
    """Split a data set whose descriptors are given."""
    return make_split(
        splitter,
        table.n_atoms[:, None] if kind == "size" else table.X,
        table.ids,
        table.groups,
        validation_fraction=validation_fraction,
        seed=seed,
        name=kind,
        settings=table.settings,
    )


def report(table: DescriptorTable, path: Path) -> Leakage:
    """Compare the test set of a stored split with its training set."""
    train, _, test = Split.load(path).indices(table.ids)
    return leakage(table.X, train, test, table.ids, table.groups, numbers=table.numbers)


def make_figure(
    table: DescriptorTable,
    split_paths: Sequence[Path],
    color_by: str,
    *,
    values: np.ndarray | None,
    value_label: str,
    n_clusters: int,
    method: Literal["pca", "umap"],
    title: str | None,
) -> "Figure":
    """Plot chemical space, colored as requested."""
    splits = [Split.load(path) for path in split_paths]
    if color_by == "values" and values is None:
        raise ValueError("`--color-by values` needs numbers; add `--values FILE`.")
    if color_by == "split" and not splits:
        raise ValueError("`--color-by split` needs a split; add `--split FILE`.")
    if color_by == "split" and len(splits) > 1:
        names = [f"{split.name}, seed {split.seed}" for split in splits]
        labels = {
            name: split.labels(table.ids)
            for name, split in zip(names, splits, strict=True)
        }
        return plot_splits(table.X, labels, method=method)[1]
    options: dict[str, Any] = {"method": method, "title": title}
    if color_by == "values":
        options |= {"values": values, "value_label": value_label}
    labels = {
        "split": lambda: splits[0].labels(table.ids),
        "cluster": lambda: cluster_labels(
            table.X, n_clusters=n_clusters, random_state=0
        ),
        "element": lambda: element_labels(table.numbers),
        "values": lambda: splits[0].labels(table.ids) if splits else None,
    }[color_by]()
    return chemical_map(table.X, labels, **options)[1]


def read_values(path: Path, ids: Sequence[str]) -> np.ndarray:
    """Read one number for each id, NaN for ids that the file does not list."""
    value_of = {}
    with path.open(newline="", encoding="utf-8") as lines:
        for number, line in enumerate(csv.reader(lines), start=1):
            try:
                name, value = line
                value_of[name] = float(value)
            except ValueError:
                raise ValueError(
                    f'Line {number} of {path} is not of the form "id,number".'
                ) from None
    if not value_of.keys() & set(ids):
        raise ValueError(f"{path} lists none of the structures' ids.")
    return np.array([value_of.get(name, np.nan) for name in ids])
