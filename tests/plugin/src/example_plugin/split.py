"""Two splitters and a descriptor."""

from typing import ClassVar

import numpy as np


class LastIds:
    """Tests on the groups with the last ids; needs no descriptors.

    Args:
        test_size: fraction of the groups.
    """

    needs: ClassVar[str] = "ids"

    def __init__(self, test_size: float = 0.25):
        self.test_size = test_size

    @classmethod
    def from_settings(cls, settings, n_groups):
        """Returns the splitter of a grid."""
        del n_groups
        return cls(settings.test_fraction)

    def __repr__(self):
        return f"LastIds({self.test_size})"

    def split(self, X, y=None, groups=None):
        """Yields indices of the training and the test set."""
        del y
        ids = np.ravel(X)
        groups = ids if groups is None else np.asarray(groups)
        ordered = list(dict.fromkeys(groups[np.argsort(ids)]))
        count = round(self.test_size * len(ordered))
        in_test = np.isin(groups, ordered[-count:])
        yield np.flatnonzero(~in_test), np.flatnonzero(in_test)


class Nearest(LastIds):
    """Tests on the structures whose descriptors are nearest to the mean."""

    needs: ClassVar[str] = "descriptors"

    def split(self, X, y=None, groups=None):
        """Yields indices of the training and the test set."""
        rows = X.toarray()
        distances = np.linalg.norm(rows - rows.mean(0), axis=1)
        return super().split(-distances[:, None], y, groups)


def formula(structures):
    """Returns the fraction of each of ten light elements."""
    counts = [np.bincount(atoms.numbers, minlength=11)[1:11] for atoms in structures]
    return np.array(counts) / np.sum(counts, axis=1, keepdims=True)
