"""K-means and maps of 80 000 x 500 float32 descriptors: time and memory.

K-means with ten starts against incremental K-means, with the share of their inertia;
then the two projections. UMAP has no seed here, so that it runs on all cores. Memory is
the most this process has ever held, so each line can only be larger than the last.

    uv run --package chemsplit packages/chemsplit/benchmarks/clusters.py [--quick]
"""

import argparse
import resource
import time

import numpy as np

from chemsplit import cluster_labels, project


def rows(n: int) -> np.ndarray:
    """Descriptors in forty overlapping clouds of different widths."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 500)).astype(np.float32)
    noise = rng.standard_normal(size=(n, 500), dtype=np.float32)
    noise *= rng.uniform(0.3, 1.5, size=(n, 1)).astype(np.float32)
    noise += centres[rng.integers(40, size=n)]
    return noise


def spread(X: np.ndarray, labels: np.ndarray) -> float:
    """Squared distances to the means of the clusters."""
    parts = (X[labels == label] for label in np.unique(labels))
    return float(sum(np.sum((part - part.mean(axis=0)) ** 2) for part in parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="8 000 rows")
    X = rows(8000 if parser.parse_args().quick else 80_000)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{len(X)} x 500 float32, {X.nbytes / 1e6:.0f} MB; {memory:.2f} GB at first")
    spreads = {}
    for name, work in (
        (
            "incremental K-means",
            lambda: cluster_labels(X, batch_size=4096, random_state=0),
        ),
        ("K-means", lambda: cluster_labels(X, random_state=0)),
        ("PCA", lambda: project(X)),
        ("UMAP", lambda: project(X, method="umap", random_state=None)),
    ):
        start = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{name:<20} {seconds:>7.1f} s, {memory:.2f} GB at most so far", flush=True
        )
        if found.ndim == 1:
            spreads[name] = spread(X, found)
    ratio = spreads["incremental K-means"] / spreads["K-means"]
    print(f"spread of incremental clusters / of K-means: {ratio:.4f}")


if __name__ == "__main__":
    main()
