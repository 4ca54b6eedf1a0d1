"""Splits of 20 000 x 4 000 float32 descriptors, compared with the equivalent loops.

Compared in one run: `SeedSimilaritySplit` with the published loop over a matrix of all
pairs, its variant with candidates with the published loop over random subsets, and
`MaxMinSplit` with one matrix-vector product per pick. The loops would take hours: the
first is timed on two smaller sets and extrapolated from the larger one by N³, since
each of its N/2 steps copies up to N rows of N similarities; of the other two, 50 steps
are timed. `SeparatedSplit` has no equivalent loop; only its time is listed.

    uv run --package chemsplit packages/chemsplit/benchmarks/splits.py [--quick]
"""

import argparse
import time

import numpy as np

from chemsplit import MaxMinSplit, SeedSimilaritySplit, SeparatedSplit


def rows(n: int, d: int) -> np.ndarray:
    """Descriptors in sixty clusters of different widths."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(60, d)).astype(np.float32)
    noise = rng.standard_normal(size=(n, d), dtype=np.float32)
    noise *= rng.uniform(0.05, 0.6, size=(n, 1)).astype(np.float32)
    return noise + centers[rng.integers(60, size=n)]


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def published_loop(X: np.ndarray) -> None:
    """All pairs, then one row at a time to the test set."""
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    similarity = unit @ unit.T
    training = [0]
    remaining = list(range(1, len(X)))
    for _ in range(len(X) // 2):
        nearest = similarity[remaining][:, training].max(axis=1)
        remaining.remove(remaining[np.argmin(nearest)])


def subset_loop(X: np.ndarray, steps: int) -> None:
    """Run some steps of the published variant with 1000 candidates."""
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    rng, remaining = np.random.default_rng(0), np.arange(1, len(X))
    for _ in range(steps):
        candidates = rng.choice(remaining, min(1000, len(remaining)), replace=False)
        least = candidates[np.argmin(unit[candidates] @ unit[0])]
        remaining = remaining[remaining != least]


def products(X: np.ndarray, steps: int) -> None:
    """One product of all rows with each pick."""
    for i in range(steps):
        X @ X[i]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="4 000 x 800 rows")
    quick = parser.parse_args().quick
    n, d = (4000, 800) if quick else (20_000, 4000)
    X, steps, half = rows(n, d), 50, n // 2

    def time_split(splitter) -> float:
        return seconds(lambda: next(splitter.split(X)))

    options = {"test_size": 0.5, "random_state": 0}
    small = [1000, 2000]
    # The reference is timed before and after, since the load may change.
    before = seconds(lambda: products(X, steps)) / steps * half
    max_min = time_split(MaxMinSplit(**options))
    after = seconds(lambda: products(X, steps)) / steps * half
    loop = [seconds(lambda m=m: published_loop(X[:m])) for m in small]
    seed = time_split(SeedSimilaritySplit(**options))
    subset = seconds(lambda: subset_loop(X, steps)) / steps * half
    candidates = time_split(SeedSimilaritySplit(n_candidates=1000, **options))
    mean = time_split(SeparatedSplit(**options))
    extrapolated = loop[1] * (n / small[1]) ** 3
    print(f"{n} x {d} float32, half in the test set\n")
    print(f"{'split':<40}{'time':>9}  {'loop':>12}{'ratio':>11}")
    for name, split_time, loop_time, text in (
        (
            "SeedSimilaritySplit",
            seed,
            extrapolated,
            f"loop over all pairs: {loop[0]:.2f} s for {small[0]}, {loop[1]:.2f} s for "
            f"{small[1]}, extrapolated by N³",
        ),
        (
            "SeedSimilaritySplit(n_candidates=1000)",
            candidates,
            subset,
            f"loop over subsets, {steps} steps timed",
        ),
        (
            "MaxMinSplit",
            max_min,
            (before + after) / 2,
            f"{half} products, {steps} timed before and after",
        ),
    ):
        print(
            f"{name:<40}{split_time:>7.2f} s  {loop_time:>9.1f} s  "
            f"{loop_time / split_time:>7.0f} x  {text}"
        )
    print(f"{'SeparatedSplit':<40}{mean:>7.2f} s")


if __name__ == "__main__":
    main()
