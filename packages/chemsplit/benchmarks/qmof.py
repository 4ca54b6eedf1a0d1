"""How well each split separates a thousand MOFs, and their map.

A thousand MOFs of QMOF, drawn at random, are described by the published SOAP and split
in halves by every splitter with three seeds. Compared is the share of test structures
that are as similar to the training part as the median of that part is to itself
(`Separation.familiar`; a random split has one half), with the median similarities. The
map of all splits is written beside this file.

The MOFs are found as by `soap.py`.

    uv run --package chemsplit packages/chemsplit/benchmarks/qmof.py [--quick]
"""

import argparse
from pathlib import Path

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
    quick = parser.parse_args().quick
    structures = mofs(100 if quick else 1000)
    ids = [f"{i:04d}" for i in range(len(structures))]
    X = mean_soap(structures)
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
    _, figure = plot_splits(X, labels, method="pca" if quick else "umap")
    figure.savefig(Path(__file__).with_name("qmof.png"), dpi=150)


if __name__ == "__main__":
    main()
