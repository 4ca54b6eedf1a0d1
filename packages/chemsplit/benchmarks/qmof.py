"""How well each split separates a thousand MOFs, and their map.

A thousand MOFs of QMOF, drawn at random, are described by the published SOAP and split
in halves by every splitter with three seeds. Compared is the share of test structures
that are as similar to the training part as the median of that part is to itself
(`Separation.familiar`; a random split has one half), with the median similarities
across the cut and within the training part for the first seed. `--map qmof.png` draws
the splits of that seed on the UMAP plane of the set; the README shows the figure.

The MOFs are found as by `soap.py`.

    uv run --package chemsplit packages/chemsplit/benchmarks/qmof.py [--quick]
        [--map FILE]
"""

import argparse
import time

import numpy as np
from sklearn.model_selection import ShuffleSplit
from soap import mofs

from chemsplit import (
    ClusterSplit,
    MaxSeparationSplit,
    SeedSimilaritySplit,
    SeparatedSplit,
    SizeSplit,
    leakage,
    make_split,
    mean_soap,
    plot_splits,
)
from chemsplit._coordinates import row_coordinates

HALF = {"test_size": 0.5}
SPLITTERS = {
    "random": ShuffleSplit(1, **HALF),
    "size": SizeSplit(**HALF),
    "cluster": ClusterSplit(**HALF),
    "seed similarity": SeedSimilaritySplit(**HALF),
    "seed, 100 candidates": SeedSimilaritySplit(candidates=100, **HALF),
    "max separation": MaxSeparationSplit(**HALF),
    "separated, mean": SeparatedSplit(**HALF),
    "separated, nearest": SeparatedSplit(criterion="nearest", **HALF),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 MOFs, no UMAP")
    parser.add_argument("--map", help="figure to write; none without it")
    options = parser.parse_args()
    structures = mofs(100 if options.quick else 1000)
    ids = [f"{i:04d}" for i in range(len(structures))]
    start = time.perf_counter()
    X = mean_soap(structures)
    print(f"{len(ids)} MOFs, described in {time.perf_counter() - start:.0f} s\n")
    X = row_coordinates(X)  # once for all: the same distances in fewer columns
    n_atoms = np.array([[len(atoms)] for atoms in structures])
    print(f"{'split':<22}{'familiar, three seeds':<24}{'across':>8}{'within':>8}")
    labels = {}
    for name, splitter in SPLITTERS.items():
        found = []
        for seed in range(1 if name == "size" else 3):
            rows = n_atoms if name == "size" else X
            split = make_split(splitter, rows, ids, validation=0, seed=seed, name=name)
            train, _, test = split.indices(ids)
            found.append(leakage(X, train, test).separation)
            labels.setdefault(name, split.labels(ids))
        familiar = " ".join(f"{one.familiar:.3f}" for one in found)
        medians = f"{found[0].across.median:8.4f}{found[0].within.median:8.4f}"
        print(f"{name:<22}{familiar:<24}{medians}", flush=True)
    if options.map:
        _, figure = plot_splits(X, labels, method="pca" if options.quick else "umap")
        figure.savefig(options.map, dpi=150)


if __name__ == "__main__":
    main()
