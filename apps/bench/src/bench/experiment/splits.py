"""Training, validation and test sets of a run."""

from collections.abc import Callable
from typing import Any, get_args

import chemsplit
import numpy as np
from chemsplit import Split
from scipy.sparse import csr_matrix
from sklearn.model_selection import GroupShuffleSplit

from bench.dataset.opening import Dataset
from bench.exceptions import BenchError
from bench.experiment.descriptors import Descriptor, descriptors_of, load_descriptor
from bench.experiment.splitters import InstalledSplitter, Needs
from bench.settings.installed import SPLITTERS, load_installed
from bench.settings.splitting import SplitSettings


def split_data(
    data: Dataset,
    kind: str,
    settings: SplitSettings,
    seed: int,
    descriptors: Callable[[Dataset], csr_matrix],
) -> Split:
    """Splits a data set by id, without dividing groups.

    Args:
        data: data set.
        kind: name of an installed splitter, such as `cluster`.
        settings: fractions and settings of the kinds.
        seed: random seed of the split and of the validation set.
        descriptors: returns those of the data, [structures, features]; called only for
            splitters that need them.

    Raises:
        BenchError: there is no such splitter, or there are too few structures or
            groups.
    """
    installed: InstalledSplitter = load_installed(SPLITTERS, kind)
    n_groups = len(set(data.groups))
    _check_splitter(installed, "from_settings", installed.needs, kind)
    _check_groups(data, n_groups)
    splitter = installed.from_settings(settings, n_groups)
    _check_splitter(splitter, "split", installed.needs, kind)
    _check_fraction(data, n_groups, splitter, settings)
    stored = settings.model_dump(exclude={"descriptor"})
    if installed.needs == "descriptors":
        stored["descriptor"] = settings.descriptor
    X = _input_of(data, installed.needs, descriptors)
    fraction = settings.validation_fraction
    return _split(data, splitter, X, fraction, seed, kind, stored)


def make_split(
    dataset: Dataset,
    splitter: Any = "random",
    *,
    seed: int = 0,
    settings: SplitSettings | None = None,
    descriptor: Descriptor | None = None,
) -> Split:
    """Splits a data set into training, validation and test sets; groups stay together.

    Args:
        dataset: data set, from `open_dataset`.
        splitter: kind of split, such as `cluster`, see `splits` of a grid; or an object
            with scikit-learn's `split(X, y, groups)`. Its attribute `needs` says what
            `X` is, see `bench.experiment.splitters.Needs`; descriptors without it.
        seed: random seed of the split and of the validation set.
        settings: fractions and settings of the kinds; None for the defaults of a grid.
        descriptor: function from ASE structures to one row per structure; None uses
            that of the settings.

    Returns:
        Ids of the three sets. `split.save(path)` writes them,
        `split.indices(dataset.ids)` returns their row indices.

    Raises:
        BenchError: the kind is unknown, or the data cannot be split by it.

    Examples:
        >>> from sklearn.model_selection import GroupKFold
        >>> dataset = bench.open_dataset("mine.extxyz")
        >>> split = bench.make_split(dataset, "random", seed=1)
        >>> split.save("split.json")
        >>> train, validation, test = split.indices(dataset.ids)
        >>> composition = lambda structures: [[len(atoms)] for atoms in structures]
        >>> own = bench.make_split(dataset, GroupKFold(4), descriptor=composition)
    """
    settings = settings or SplitSettings()
    describe = descriptor or load_descriptor(settings.descriptor)
    descriptors = lambda data: descriptors_of(data, describe)
    if isinstance(splitter, str):
        return split_data(dataset, splitter, settings, seed, descriptors)
    needs, name = getattr(splitter, "needs", "descriptors"), type(splitter).__name__
    _check_splitter(splitter, "split", needs, name)
    _check_groups(dataset, len(set(dataset.groups)))
    X = _input_of(dataset, needs, descriptors)
    return _split(dataset, splitter, X, settings.validation_fraction, seed, name, {})


def _input_of(
    data: Dataset,
    needs: str,
    descriptors: Callable[[Dataset], csr_matrix],
) -> Any:
    """Returns what a splitter gets as `X`."""
    inputs: dict[str, Callable[[], Any]] = {
        "descriptors": lambda: descriptors(data),
        "sizes": lambda: data.sizes[:, None].astype(float),
        "total_charges": lambda: np.asarray(data.total_charges)[:, None],
        "ids": lambda: np.array([[id] for id in data.ids]),
        "nothing": lambda: None,
    }
    return inputs[needs]()


def _check_splitter(splitter: Any, method: str, needs: Any, name: str) -> None:
    """Raises BenchError for a mistake in a splitter, before descriptors are computed.

    Args:
        splitter: splitter, or what makes splitters from settings.
        method: that it must have.
        needs: what it gets as `X`.
        name: of the splitter.
    """
    if not callable(getattr(splitter, method, None)):
        raise BenchError(
            f"The splitter {name!r} has no method `{method}`: its author must add it, "
            "see `bench.experiment.splitters.InstalledSplitter`."
        )
    if needs not in get_args(Needs):
        raise BenchError(
            f"`needs` of the splitter {name!r} is {needs!r:.80}, not one of "
            f"{', '.join(get_args(Needs))}: its author must correct it."
        )


def _split(
    data: Dataset,
    splitter: Any,
    X: Any,
    validation_fraction: float,
    seed: int,
    name: str,
    settings: dict[str, Any],
) -> Split:
    try:
        return chemsplit.make_split(
            splitter,
            X,
            data.ids,
            data.groups,
            validation_fraction=validation_fraction,
            seed=seed,
            name=name,
            settings=settings,
        )
    except ValueError as error:
        raise BenchError(f"The {name} split cannot be made: {error}") from error


def _check_groups(data: Dataset, n_groups: int) -> None:
    """Raises BenchError if there are too few groups for three sets."""
    if n_groups < 3:
        what = "structure" if n_groups == len(data) else "group of structures"
        raise BenchError(
            f"{data.name} has {n_groups} {what}{'s' * (n_groups > 1)}, and a split "
            "needs at least three: for training, validation and test."
        )


def _check_fraction(
    data: Dataset, n_groups: int, splitter: Any, settings: SplitSettings
) -> None:
    """Raises BenchError if the test set leaves too little for training."""
    if getattr(splitter, "test_size", None) != settings.test_fraction:
        return
    # GroupShuffleSplit counts groups, the other splitters count structures.
    count, what = len(data), "structures"
    if isinstance(splitter, GroupShuffleSplit):
        count, what = n_groups, "groups"
    remaining = count - int(np.ceil(settings.test_fraction * count))
    if remaining < 2:
        raise BenchError(
            f"split.test_fraction={settings.test_fraction:g} leaves {remaining} of "
            f"{count} {what} for training and validation, which need one each: reduce "
            "it."
        )
