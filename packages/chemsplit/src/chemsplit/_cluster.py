"""Splits that keep whole clusters of similar structures together."""

from collections.abc import Generator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.model_selection import BaseShuffleSplit
from sklearn.utils import check_random_state

from ._coordinates import row_coordinates
from ._draw import draw_whole, warn_if_poor
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

    K-means acts on the rows as they are, without normalisation. Wide matrices are first
    rewritten in the space their rows span, which leaves all distances as they are. The
    labels depend on the order of the rows through the random starts; `make_split`
    removes that by sorting by id.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Descriptors, as from `mean_soap`.
    groups : array-like of shape (n_samples,), default=None
        Samples that belong together. K-means then acts on the mean of each group, so
        that a group has one label.
    n_clusters : int, default=20
        Number of clusters.
    n_init : int, default=10
        Number of starts, of which the best counts.
    batch_size : int, default=None
        If given, K-means is incremental: it moves its centres with this many rows at a
        time, for sets that it could not go through a hundred times. `X` may then be a
        `numpy.memmap`.
    random_state : int, RandomState instance or None, default=None
        Draws the starts.

    Returns
    -------
    ndarray of shape (n_samples,)
        Labels from 0 to ``n_clusters - 1``.
    """
    units = Units.of(X, groups)
    X, members = units.rows, units.members
    if not 2 <= n_clusters <= X.shape[0]:
        units = "samples" if groups is None else "groups"
        raise ValueError(
            f"`n_clusters` must lie between 2 and the number of {units}, "
            f"{X.shape[0]}, got {n_clusters}."
        )
    if n_init < 1:
        raise ValueError(f"`n_init` must be a positive number, got {n_init}.")
    starts: Any = n_init  # the stubs read scikit-learn's default, "auto", as the type
    if batch_size is None:
        kmeans = KMeans(n_clusters, n_init=starts, random_state=random_state)
        return kmeans.fit_predict(row_coordinates(X))[members]
    kmeans = MiniBatchKMeans(
        n_clusters, n_init=starts, batch_size=batch_size, random_state=random_state
    )
    return kmeans.fit_predict(X)[members]


class ClusterSplit(BaseShuffleSplit):
    """Tests on whole clusters of the descriptor space.

    The samples are clustered by K-means (`cluster_labels`), once a call of `split`.
    For each split the clusters are put in random order and the first ones become the
    training part; the rest is the test part, so every sample is used. The cut falls
    where the number of training samples is nearest to the wanted one. With `groups`
    whole groups are clustered, and none straddles the cut.

    Parameters
    ----------
    n_splits : int, default=1
        Number of splits, each a new draw of the same clusters.
    n_clusters : int, default=20
        Number of clusters.
    share_of : {"samples", "clusters"}, default="samples"
        What the sizes count. "clusters" is the published draw: at ``test_size=0.5`` ten
        of twenty clusters train and ten test, however many samples they hold. With an
        integer seed the test part is that of the published code.
    n_init : int, default=10
        Number of starts of K-means. The published code leaves it to scikit-learn, which
        takes ten before its version 1.4 and one since.
    batch_size : int, default=None
        Makes K-means incremental, as in `cluster_labels`.
    test_size, train_size : float or int, default=None
        As in `sklearn.model_selection.ShuffleSplit`, so 0.1 if neither is given.
    random_state : int, RandomState instance or None, default=None
        Draws the starts of K-means and the order of the clusters.

    Warns
    -----
    UserWarning
        If the share of test samples misses the wanted one by more than 0.1
        (``share_of="samples"``).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> split = ClusterSplit(n_clusters=2, test_size=0.5, random_state=0)
    >>> train, test = next(split.split(X))
    >>> sorted(map(sorted, (train.tolist(), test.tolist())))
    [[0, 1], [2, 3]]
    """

    # Groups are used when given; scikit-learn then routes them here.
    __metadata_request__split = {"groups": True}

    def __init__(
        self,
        n_splits: int = 1,
        *,
        n_clusters: int = 20,
        share_of: Literal["samples", "clusters"] = "samples",
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
        self.share_of = share_of
        self.n_init = n_init
        self.batch_size = batch_size

    def _iter_indices(
        self, X: Any, y: Any = None, groups: ArrayLike | None = None
    ) -> Generator[tuple[np.ndarray, np.ndarray], Any, None]:
        if self.share_of not in ("samples", "clusters"):
            raise ValueError(
                f'`share_of` must be "samples" or "clusters", got {self.share_of!r}.'
            )
        # An integer seeds K-means and the draw alike, as in the published code.
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
            raise ValueError("All samples fall into one cluster: nothing to split.")
        counted = sizes if self.share_of == "samples" else np.ones_like(sizes)
        n_train = count_train(int(counted.sum()), self.train_size, self.test_size)
        for _ in range(self.n_splits):
            in_train = np.isin(labels, draw_whole(counted, n_train, rng))
            if self.share_of == "samples":
                wanted = 1 - n_train / len(labels)
                warn_if_poor("test", "clusters", sizes, 1 - in_train.mean(), wanted)
            yield np.flatnonzero(in_train), np.flatnonzero(~in_train)
