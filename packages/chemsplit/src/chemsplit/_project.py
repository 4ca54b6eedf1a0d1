"""Projection of descriptors to two dimensions."""

from typing import Any, Literal

import numpy as np
from sklearn.decomposition import PCA

from ._row_space import check_descriptors, row_space_coordinates


def project(
    X: Any, *, method: Literal["pca", "umap"] = "pca", random_state: int | None = 0
) -> np.ndarray:
    """Project descriptors to two dimensions.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Descriptors, as from `mean_soap`.
    method : {"pca", "umap"}, default="pca"
        Projection. Principal components are fast and preserve large distances. UMAP,
        with cosine distances, preserves neighborhoods; distances between them mean
        little. It takes half a minute to import and compile.
    random_state : int or None, default=0
        Seed. With an integer the result is reproducible and UMAP runs on one core.

    Returns
    -------
    ndarray of shape (n_samples, 2)
        Coordinates of each structure.

    References
    ----------
    McInnes, Healy and Melville, arXiv:1802.03426 (2018).
    """
    X = check_descriptors(X)
    if X.shape[0] < 3 or X.shape[1] < 2:
        raise ValueError(
            "A projection needs at least three structures and two features, got "
            f"{X.shape[0]} and {X.shape[1]}."
        )
    rows = row_space_coordinates(X)
    if method == "pca":
        return _principal_components(rows, random_state)
    if method == "umap":
        return _umap(rows, random_state)
    raise ValueError(f'`method` must be "pca" or "umap", got {method!r}.')


def _principal_components(rows: Any, random_state: int | None) -> np.ndarray:
    if rows.shape[1] < 2:  # all descriptors are parallel
        rows = np.hstack([rows, np.zeros_like(rows)])
    solver = "auto" if isinstance(rows, np.ndarray) else "arpack"
    pca = PCA(2, svd_solver=solver, random_state=random_state)
    coordinates = pca.fit_transform(rows)
    # The sign of a component is arbitrary: the largest coordinate is made positive.
    largest = coordinates[np.argmax(np.abs(coordinates), axis=0), [0, 1]]
    return np.where(largest < 0, -coordinates, coordinates)


def _umap(rows: Any, random_state: int | None) -> np.ndarray:
    from umap import UMAP

    mapper: Any = UMAP(
        n_components=2,
        n_neighbors=min(15, rows.shape[0] - 1),
        metric="cosine",
        # The spectral initialization needs more than ten structures.
        init="spectral" if rows.shape[0] > 10 else "random",
        random_state=random_state,
        n_jobs=-1 if random_state is None else 1,
    )
    return np.asarray(mapper.fit_transform(rows), dtype=np.float64)
