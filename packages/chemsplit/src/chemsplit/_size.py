"""Training on small structures, testing on large ones."""

from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.model_selection import BaseCrossValidator

from ._draw import warn_if_poor
from ._units import count_train, group_members


class SizeSplit(BaseCrossValidator):
    """Tests on the structures with the most atoms.

    The cut falls between two numbers of atoms, so that structures of equal size are
    on one side, and groups go by their largest structure. Nothing is drawn: there is
    one such split.

    Parameters
    ----------
    max_train : int, default=None
        Largest number of atoms in the training part; the published splits have 100
        for QMOF, 299 for ODAC25 and 149 for OMol25.
    test_size, train_size : float or int, default=None
        Instead of `max_train`, as in `sklearn.model_selection.ShuffleSplit`, so a test
        share of 0.1 if nothing is given. Of the possible cuts the nearest is taken.
    column : int, default=None
        Column of `X` that holds the numbers of atoms. By default `X` holds nothing
        else: numbers of shape (n_samples,) or (n_samples, 1).

    Warns
    -----
    UserWarning
        If the share of test samples misses the wanted one by more than 0.1.

    Examples
    --------
    >>> n_atoms = [120, 30, 80, 240]
    >>> train, test = next(SizeSplit(max_train=100).split(n_atoms))
    >>> train.tolist(), test.tolist()
    ([1, 2], [0, 3])
    """

    # Groups are used when given; scikit-learn then routes them here.
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
        """Return 1, whatever is given."""
        return 1

    def _iter_test_masks(
        self, X: Any = None, y: Any = None, groups: ArrayLike | None = None
    ) -> Generator[np.ndarray, Any, None]:
        sizes = self._atoms(X)
        if groups is not None:
            members, _ = group_members(sizes, groups)
            largest = np.zeros(members.max() + 1)
            np.maximum.at(largest, members, sizes)
            sizes = largest[members]
        yield sizes > self._last_train(sizes)

    def _atoms(self, X: Any) -> np.ndarray:
        """Read the numbers of atoms from `X`, or say what is wrong with them."""
        columns: Any = X.tocsc() if sparse.issparse(X) else np.asarray(X)
        if columns.ndim == 1:
            columns = columns[:, None]
        if self.column is None and columns.shape[1] != 1:
            raise ValueError(
                "`X` must hold the number of atoms of each structure, got "
                f"{columns.shape[1]} columns; say which it is with `column`."
            )
        one = columns[:, [self.column or 0]]
        sizes = np.ravel(one.toarray() if sparse.issparse(one) else one)
        if not (np.isfinite(sizes).all() and (sizes > 0).all()):
            raise ValueError("Numbers of atoms must be positive, `X` holds others.")
        return sizes

    def _last_train(self, sizes: np.ndarray) -> float:
        """Find the largest size that trains."""
        found, counts = np.unique(sizes, return_counts=True)
        if len(found) == 0:
            raise ValueError("There is no structure to split: `X` is empty.")
        if len(found) == 1:
            raise ValueError(
                f"All structures or groups have {found[0]:g} atoms: nothing to split."
            )
        if self.max_train is None:
            n_train = count_train(len(sizes), self.train_size, self.test_size)
            totals = np.cumsum(counts)[:-1]
            last = int(np.argmin(np.abs(totals - n_train)))
            achieved, wanted = 1 - totals[last] / len(sizes), 1 - n_train / len(sizes)
            warn_if_poor("test", "sizes", counts, achieved, wanted)
            return found[last]
        if self.test_size is not None or self.train_size is not None:
            raise ValueError("Give `max_train` or a share to SizeSplit, not both.")
        if not found[0] <= self.max_train < found[-1]:
            raise ValueError(
                f"The structures or groups have {found[0]:g} to {found[-1]:g} atoms, "
                f"so max_train={self.max_train} leaves one part empty."
            )
        return self.max_train
