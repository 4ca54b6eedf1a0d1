"""Split by the number of atoms."""

from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.model_selection import BaseCrossValidator

from ._draw import warn_if_fraction_missed
from ._units import count_train, group_indices


class SizeSplit(BaseCrossValidator):
    """Splitter whose test set is the structures with the most atoms.

    Structures of equal size are in the same set. A group is assigned by its largest
    structure. The split is deterministic, so there is only one.

    Parameters
    ----------
    max_train : int, default=None
        Largest number of atoms of a training structure. The published splits use 100
        for QMOF, 299 for ODAC25 and 149 for OMol25.
    test_size, train_size : float or int, default=None
        In place of `max_train`, as in `sklearn.model_selection.ShuffleSplit`, so 0.1 if
        neither is given. The closest possible size is used.
    column : int, default=None
        Column of `X` with the numbers of atoms. None if `X` is the numbers of atoms,
        of shape (n_samples,) or (n_samples, 1).

    Warns
    -----
    UserWarning
        If the fraction of test samples differs from the requested one by more than 0.1.

    Examples
    --------
    >>> n_atoms = [120, 30, 80, 240]
    >>> train, test = next(SizeSplit(max_train=100).split(n_atoms))
    >>> train.tolist(), test.tolist()
    ([1, 2], [0, 3])
    """

    # Makes scikit-learn's metadata routing pass `groups` to `split`.
    __metadata_request__split = {"groups": True}

    def __init__(
        self,
        *,
        max_train: int | None = None,
        test_size: float | int | None = None,
        train_size: float | int | None = None,
        column: int | None = None,
    ):
        self.max_train = max_train
        self.test_size = test_size
        self.train_size = train_size
        self.column = column

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> Any:
        """Return 1."""
        return 1

    def _iter_test_masks(
        self, X: Any = None, y: Any = None, groups: ArrayLike | None = None
    ) -> Generator[np.ndarray, Any, None]:
        n_atoms = self._read_n_atoms(X)
        if groups is not None:
            group_of_sample, _ = group_indices(n_atoms, groups)
            largest = np.zeros(group_of_sample.max() + 1)
            np.maximum.at(largest, group_of_sample, n_atoms)
            n_atoms = largest[group_of_sample]
        yield n_atoms > self._largest_train(n_atoms)

    def _read_n_atoms(self, X: Any) -> np.ndarray:
        """Return the numbers of atoms from `X`."""
        columns: Any = X.tocsc() if sparse.issparse(X) else np.asarray(X)
        if columns.ndim == 1:
            columns = columns[:, None]
        if self.column is None and columns.shape[1] != 1:
            raise ValueError(
                "`X` must be the number of atoms of each structure, got "
                f"{columns.shape[1]} columns; select one with `column`."
            )
        column = columns[:, [self.column or 0]]
        n_atoms = np.ravel(column.toarray() if sparse.issparse(column) else column)
        if not (np.isfinite(n_atoms).all() and (n_atoms > 0).all()):
            raise ValueError("Numbers of atoms in `X` must be positive.")
        return n_atoms

    def _largest_train(self, n_atoms: np.ndarray) -> float:
        """Return the largest number of atoms in the training set."""
        sizes, counts = np.unique(n_atoms, return_counts=True)
        if len(sizes) == 0:
            raise ValueError("There is no structure to split: `X` is empty.")
        if len(sizes) == 1:
            raise ValueError(
                f"All structures or groups have {sizes[0]:g} atoms: nothing to split."
            )
        if self.max_train is None:
            n_train = count_train(len(n_atoms), self.train_size, self.test_size)
            totals = np.cumsum(counts)[:-1]
            last = int(np.argmin(np.abs(totals - n_train)))
            achieved = 1 - totals[last] / len(n_atoms)
            requested = 1 - n_train / len(n_atoms)
            warn_if_fraction_missed("test", "sizes", counts, achieved, requested)
            return sizes[last]
        if self.test_size is not None or self.train_size is not None:
            raise ValueError(
                "SizeSplit takes `max_train` or one of `test_size` and `train_size`, "
                "not both."
            )
        if not sizes[0] <= self.max_train < sizes[-1]:
            raise ValueError(
                f"The structures or groups have {sizes[0]:g} to {sizes[-1]:g} atoms, "
                f"so max_train={self.max_train} leaves one set empty."
            )
        return self.max_train
