"""Splits between clusters of similar structures."""

from collections.abc import Generator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.model_selection import BaseShuffleSplit
from sklearn.utils import check_random_state

from ._draw import draw_units, warn_if_fraction_missed
from ._row_space import row_space_coordinates
from ._units import Units, count_train


def cluster_labels(
    X: Any,
    groups: ArrayLike | None = None,
    *,
    n_clusters: int = 20,
    n_init: int = 10,
    batch_size: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> np.ndarray:
    """Label each sample with its K-means cluster.

    K-means is applied to the rows without normalization. A matrix with more columns
    than rows is first rewritten in coordinates of its row space, which preserves all
    distances. Through the random initialization the labels depend on the order of the
    rows; `make_split` removes this dependence by sorting by id.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Descriptors, as from `mean_soap`.
    groups : array-like of shape (n_samples,), default=None
        Group of each sample. K-means is then applied to the mean of each group, so
        that all samples of a group have the same label.
    n_clusters : int, default=20
        Number of clusters.
    n_init : int, default=10
        Number of random initializations; the result of lowest inertia is used.
    batch_size : int, default=None
        If given, mini-batch K-means with this number of rows per step is used, for
        large data sets. `X` may then be a `numpy.memmap`.
    random_state : int, RandomState instance or None, default=None
        Seed of the initializations.

    Returns
    -------
    ndarray of shape (n_samples,)
        Labels from 0 to ``n_clusters - 1``.
    """
    units = Units.of(X, groups)
    X, unit_of_sample = units.rows, units.unit_of_sample
    if not 2 <= n_clusters <= X.shape[0]:
        what = "samples" if groups is None else "groups"
        raise ValueError(
            f"`n_clusters` must be between 2 and the number of {what}, "
            f"{X.shape[0]}, got {n_clusters}."
        )
    if n_init < 1:
        raise ValueError(f"`n_init` must be a positive number, got {n_init}.")
    # scikit-learn's type stubs infer `str` from the default "auto".
    initializations: Any = n_init
    if batch_size is None:
        kmeans = KMeans(n_clusters, n_init=initializations, random_state=random_state)
        return kmeans.fit_predict(row_space_coordinates(X))[unit_of_sample]
    kmeans = MiniBatchKMeans(
        n_clusters,
        n_init=initializations,
        batch_size=batch_size,
        random_state=random_state,
    )
    return kmeans.fit_predict(X)[unit_of_sample]


class ClusterSplit(BaseShuffleSplit):
    """Splitter that assigns each K-means cluster to the training or the test set.

    The samples are clustered (`cluster_labels`) once per call of `split`. For each
    split the clusters are shuffled; the first ones are the training set, as many as
    bring the number of training samples closest to the requested one, and the others
    are the test set, so every sample is used. With `groups` the groups are clustered,
    and each is in one set only.

    Parameters
    ----------
    n_splits : int, default=1
        Number of splits; each shuffles the same clusters again.
    n_clusters : int, default=20
        Number of clusters.
    fraction_of : {"samples", "clusters"}, default="samples"
        Quantity that `test_size` and `train_size` are fractions of. "clusters" is the
        published split: at ``test_size=0.5`` ten of twenty clusters are the training
        set, whatever their sizes. With an integer seed the test set is that of the
        published code.
    n_init : int, default=10
        Number of random initializations of K-means. The published code uses the default
        of scikit-learn, which is ten before version 1.4 and one since.
    batch_size : int, default=None
        Rows per step of mini-batch K-means, as in `cluster_labels`.
    test_size, train_size : float or int, default=None
        As in `sklearn.model_selection.ShuffleSplit`, so 0.1 if neither is given.
    random_state : int, RandomState instance or None, default=None
        Seed of K-means and of the order of the clusters.

    Warns
    -----
    UserWarning
        If the fraction of test samples differs from the requested one by more than 0.1
        (``fraction_of="samples"``).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> split = ClusterSplit(n_clusters=2, test_size=0.5, random_state=0)
    >>> train, test = next(split.split(X))
    >>> sorted(map(sorted, (train.tolist(), test.tolist())))
    [[0, 1], [2, 3]]
    """

    # Makes scikit-learn's metadata routing pass `groups` to `split`.
    __metadata_request__split = {"groups": True}

    def __init__(
        self,
        n_splits: int = 1,
        *,
        n_clusters: int = 20,
        fraction_of: Literal["samples", "clusters"] = "samples",
        n_init: int = 10,
        batch_size: int | None = None,
        test_size: float | int | None = None,
        train_size: float | int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        super().__init__(
            n_splits,
            test_size=test_size,
            train_size=train_size,
            random_state=random_state,
        )
        self.n_clusters = n_clusters
        self.fraction_of = fraction_of
        self.n_init = n_init
        self.batch_size = batch_size

    def _iter_indices(
        self, X: Any, y: Any = None, groups: ArrayLike | None = None
    ) -> Generator[tuple[np.ndarray, np.ndarray], Any, None]:
        if self.fraction_of not in ("samples", "clusters"):
            raise ValueError(
                '`fraction_of` must be "samples" or "clusters", '
                f"got {self.fraction_of!r}."
            )
        # The published code uses one integer seed for K-means and for the shuffle.
        labels = cluster_labels(
            X,
            groups,
            n_clusters=self.n_clusters,
            n_init=self.n_init,
            batch_size=self.batch_size,
            random_state=self.random_state,
        )
        rng = check_random_state(self.random_state)
        sizes = np.bincount(labels, minlength=self.n_clusters)
        sizes = sizes[sizes > 0]
        labels = np.unique(labels, return_inverse=True)[1]
        if len(sizes) < 2:
            raise ValueError("All samples are in one cluster: nothing to split.")
        weights = sizes if self.fraction_of == "samples" else np.ones_like(sizes)
        n_train = count_train(int(weights.sum()), self.train_size, self.test_size)
        for _ in range(self.n_splits):
            in_train = np.isin(labels, draw_units(weights, n_train, rng))
            if self.fraction_of == "samples":
                requested = 1 - n_train / len(labels)
                warn_if_fraction_missed(
                    "test", "clusters", sizes, 1 - in_train.mean(), requested
                )
            yield np.flatnonzero(in_train), np.flatnonzero(~in_train)
