"""Separation of the splits of a thousand MOFs, and a map of them.

A thousand random MOFs of QMOF are described by the published SOAP descriptor and split
in halves by each splitter with three seeds. The table lists the familiar share
(`Separation.familiar_share`; 0.5 for a random split) and, for the first seed, the
median similarity to the nearest training structure of test and of training structures.
`--map qmof.png` plots the splits of the first seed in UMAP coordinates; the README
shows this figure.

The MOFs are read as in `soap.py`.

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
    MaxMinSplit,
    SeedSimilaritySplit,
    SeparatedSplit,
    SizeSplit,
    leakage,
    make_split,
    mean_soap,
    plot_splits,
)
from chemsplit._row_space import row_space_coordinates

HALF = {"test_size": 0.5}
SPLITTERS = {
    "random": ShuffleSplit(1, **HALF),
    "size": SizeSplit(**HALF),
    "cluster": ClusterSplit(**HALF),
    "seed-similarity": SeedSimilaritySplit(**HALF),
    "seed-similarity (100)": SeedSimilaritySplit(n_candidates=100, **HALF),
    "max-min": MaxMinSplit(**HALF),
    "separated": SeparatedSplit(**HALF),
    "separated, nearest": SeparatedSplit(criterion="nearest", **HALF),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 MOFs, no UMAP")
    parser.add_argument("--map", help="figure to write; default: none")
    options = parser.parse_args()
    structures = mofs(100 if options.quick else 1000)
    ids = [f"{i:04d}" for i in range(len(structures))]
    start = time.perf_counter()
    X = mean_soap(structures)
    print(f"{len(ids)} MOFs, described in {time.perf_counter() - start:.0f} s\n")
    X = row_space_coordinates(X)  # the same distances in fewer columns
    n_atoms = np.array([[len(atoms)] for atoms in structures])
    print(f"{'split':<22}{'familiar, three seeds':<24}{'test':>8}{'train':>8}")
    labels = {}
    for name, splitter in SPLITTERS.items():
        separations = []
        for seed in range(1 if name == "size" else 3):
            rows = n_atoms if name == "size" else X
            split = make_split(
                splitter, rows, ids, validation_fraction=0, seed=seed, name=name
            )
            train, _, test = split.indices(ids)
            separations.append(leakage(X, train, test).separation)
            labels.setdefault(name, split.labels(ids))
        familiar = " ".join(f"{one.familiar_share:.3f}" for one in separations)
        first = separations[0]
        medians = f"{first.test_to_train.median:8.4f}{first.within_train.median:8.4f}"
        print(f"{name:<22}{familiar:<24}{medians}", flush=True)
    if options.map:
        _, figure = plot_splits(X, labels, method="pca" if options.quick else "umap")
        figure.savefig(options.map, dpi=150)


if __name__ == "__main__":
    main()
