"""What the commands do, with the packages they need: loaded when one is run."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit

from ._chemistry import element_labels
from ._cluster import ClusterSplit, cluster_labels
from ._composition import Composition
from ._describe import Descriptor, describe
from ._description import Description
from ._draft import require_folder
from ._leakage import Leakage, leakage
from ._make_split import make_split
from ._map import chemical_map
from ._max_separation import MaxSeparationSplit
from ._mbtr import Mbtr
from ._panels import plot_splits
from ._read import read_structures
from ._seed_similarity import SeedSimilaritySplit
from ._separated import SeparatedSplit
from ._size import SizeSplit
from ._soap import MeanSoap
from ._split import Split

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_figure(out: Path) -> None:
    """Refuse a figure that could not be written, before any work."""
    from matplotlib.backend_bases import FigureCanvasBase

    require_folder(out)
    if out.suffix[1:].lower() not in FigureCanvasBase.get_supported_filetypes():
        raise ValueError(
            f"A figure cannot be written to {out}; use .png, .pdf or .svg."
        )


def descriptor(
    kind: str, *, r_cut: float | None = None, compression: Any = "off"
) -> Descriptor:
    """Set up a descriptor by name."""
    cutoff: dict[str, Any] = {} if r_cut is None else {"r_cut": r_cut}
    if kind == "soap":
        return MeanSoap(**cutoff, compression=compression)
    if compression != "off" or (kind == "composition" and r_cut is not None):
        raise ValueError(f"{kind} has no such setting; leave it out.")
    return Mbtr(**cutoff) if kind == "mbtr" else Composition()


def described(
    paths: Sequence[Path],
    by: Descriptor,
    *,
    keys: tuple[str | None, str | None] = (None, None),
    **options: Any,
) -> Description:
    """Read files and describe what they hold."""
    read = read_structures(paths, id_key=keys[0], group_key=keys[1])
    return Description(
        X=describe(read.atoms, by, **options),
        ids=tuple(read.ids),
        numbers=tuple(atoms.numbers for atoms in read.atoms),
        groups=None if read.groups is None else tuple(read.groups),
        settings={"descriptor": repr(by)},
    )


def splitter(
    kind: str,
    test: float,
    *,
    grouped: bool,
    clusters: int,
    max_train: int | None,
    candidates: int | None,
    criterion: Literal["mean", "nearest"],
) -> Any:
    """Set up a splitter by name."""
    if max_train is not None and kind != "size":
        raise ValueError(f"A {kind} split has no `max-train`; it is of size splits.")
    if candidates is not None and kind != "seed-similarity":
        raise ValueError(f"A {kind} split draws no candidates; leave them out.")
    share = None if max_train is not None else test
    random = GroupShuffleSplit if grouped else ShuffleSplit
    made = {
        "random": lambda: random(1, test_size=test),
        "size": lambda: SizeSplit(max_train=max_train, test_size=share),
        "cluster": lambda: ClusterSplit(1, n_clusters=clusters, test_size=test),
        "seed-similarity": lambda: SeedSimilaritySplit(
            candidates=candidates, test_size=test
        ),
        "max-separation": lambda: MaxSeparationSplit(test_size=test),
        "separated": lambda: SeparatedSplit(criterion=criterion, test_size=test),
    }
    return made[kind]()


def split(
    splitter: Any, data: Description, kind: str, *, seed: int, validation: float
) -> Split:
    """Split a described data set."""
    return make_split(
        splitter,
        data.n_atoms[:, None] if kind == "size" else data.X,
        data.ids,
        data.groups,
        validation=validation,
        seed=seed,
        name=kind,
        settings=data.settings,
    )


def report(data: Description, path: Path) -> Leakage:
    """Compare the parts of a stored split."""
    train, _, test = Split.load(path).indices(data.ids)
    return leakage(data.X, train, test, data.ids, data.groups, numbers=data.numbers)


def figure(
    data: Description,
    splits: Sequence[Path],
    colour: str,
    *,
    values: np.ndarray | None,
    value_label: str,
    n_clusters: int,
    method: Literal["pca", "umap"],
    title: str | None,
) -> "Figure":
    """Draw the map that was asked for."""
    stored = [Split.load(path) for path in splits]
    if colour == "values" and values is None:
        raise ValueError("Colours by value need the numbers; give a file of them.")
    if colour == "split" and not stored:
        raise ValueError("Colours by split need a split; give a file of one.")
    if colour == "split" and len(stored) > 1:
        names = [f"{one.name}, seed {one.seed}" for one in stored]
        labels = {
            name: one.labels(data.ids) for name, one in zip(names, stored, strict=True)
        }
        return plot_splits(data.X, labels, method=method)[1]
    options: dict[str, Any] = {"method": method, "title": title}
    if colour == "values":
        options |= {"values": values, "value_label": value_label}
    labels = {
        "split": lambda: stored[0].labels(data.ids),
        "cluster": lambda: cluster_labels(
            data.X, n_clusters=n_clusters, random_state=0
        ),
        "element": lambda: element_labels(data.numbers),
        "values": lambda: stored[0].labels(data.ids) if stored else None,
    }[colour]()
    return chemical_map(data.X, labels, **options)[1]


def read_values(path: Path, ids: Sequence[str]) -> np.ndarray:
    """Read a number for each id; a structure without one has none on the map."""
    found = {}
    with path.open(newline="", encoding="utf-8") as lines:
        for number, line in enumerate(csv.reader(lines), start=1):
            try:
                name, value = line
                found[name] = float(value)
            except ValueError:
                raise ValueError(
                    f'Line {number} of {path} is not of the form "id,number".'
                ) from None
    if not found.keys() & set(ids):
        raise ValueError(f"{path} names none of the structures.")
    return np.array([found.get(name, np.nan) for name in ids])
