"""K-means and maps of 80 000 x 500 float32 descriptors: time and memory.

K-means with ten initializations is compared with mini-batch K-means, including the
ratio of their inertias; the two projections follow. UMAP has no seed here, so that it
runs on all cores. Memory is the peak of the process so far, so it never decreases.

    uv run --package chemsplit packages/chemsplit/benchmarks/clusters.py [--quick]
"""

import argparse
import resource
import time

import numpy as np

from chemsplit import cluster_labels, project


def rows(n: int) -> np.ndarray:
    """Descriptors in forty overlapping clusters of different widths."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(40, 500)).astype(np.float32)
    noise = rng.standard_normal(size=(n, 500), dtype=np.float32)
    noise *= rng.uniform(0.3, 1.5, size=(n, 1)).astype(np.float32)
    noise += centers[rng.integers(40, size=n)]
    return noise


def inertia(X: np.ndarray, labels: np.ndarray) -> float:
    """Sum of squared distances to the means of the clusters."""
    clusters = (X[labels == label] for label in np.unique(labels))
    return float(sum(np.sum((rows - rows.mean(axis=0)) ** 2) for rows in clusters))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="8 000 rows")
    X = rows(8000 if parser.parse_args().quick else 80_000)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{len(X)} x 500 float32, {X.nbytes / 1e6:.0f} MB; {memory:.2f} GB before")
    inertias = {}
    for name, compute in (
        (
            "mini-batch K-means",
            lambda: cluster_labels(X, batch_size=4096, random_state=0),
        ),
        ("K-means", lambda: cluster_labels(X, random_state=0)),
        ("PCA", lambda: project(X)),
        ("UMAP", lambda: project(X, method="umap", random_state=None)),
    ):
        start = time.perf_counter()
        result = compute()
        seconds = time.perf_counter() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{name:<20} {seconds:>7.1f} s, {memory:.2f} GB peak", flush=True)
        if result.ndim == 1:
            inertias[name] = inertia(X, result)
    ratio = inertias["mini-batch K-means"] / inertias["K-means"]
    print(f"inertia of mini-batch K-means / K-means: {ratio:.4f}")


if __name__ == "__main__":
    main()
