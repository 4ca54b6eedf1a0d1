"""Splits of 20 000 x 4 000 float32 descriptors against the loops they stand for.

Compared, in one run: `SeedSimilaritySplit` with the published loop over a matrix of all
pairs, its candidates with the published loop over random subsets, and
`MaxSeparationSplit` with one matrix-vector product for each pick. The loops would take
hours: the first is timed on sets of two smaller sizes and extrapolated from the larger
one by N³, since each of its N/2 steps copies up to N rows of N similarities; the other
two are timed on some of their steps and multiplied up. `SeparatedSplit` has no loop to
compare with; its time is listed.

    uv run --package chemsplit packages/chemsplit/benchmarks/splits.py [--quick]
"""

import argparse
import time

import numpy as np

from chemsplit import MaxSeparationSplit, SeedSimilaritySplit, SeparatedSplit


def rows(n: int, d: int) -> np.ndarray:
    """Descriptors in sixty clouds of different widths."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, d)).astype(np.float32)
    noise = rng.standard_normal(size=(n, d), dtype=np.float32)
    noise *= rng.uniform(0.05, 0.6, size=(n, 1)).astype(np.float32)
    return noise + centres[rng.integers(60, size=n)]


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def published_loop(X: np.ndarray) -> None:
    """All pairs, then one row at a time to the test part."""
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    similarity = unit @ unit.T
    training = [0]
    left = list(range(1, len(X)))
    for _ in range(len(X) // 2):
        nearest = similarity[left][:, training].max(axis=1)
        left.remove(left[np.argmin(nearest)])


def subset_loop(X: np.ndarray, steps: int) -> None:
    """Take some steps of the published variant with 1000 candidates."""
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    draws, left = np.random.default_rng(0), np.arange(1, len(X))
    for _ in range(steps):
        few = draws.choice(left, size=min(1000, len(left)), replace=False)
        least = few[np.argmin(unit[few] @ unit[0])]
        left = left[left != least]


def products(X: np.ndarray, steps: int) -> None:
    """Multiply all rows with each pick, and do nothing else."""
    for i in range(steps):
        X @ X[i]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="4 000 x 800 rows")
    quick = parser.parse_args().quick
    n, d = (4000, 800) if quick else (20_000, 4000)
    X, steps, half = rows(n, d), 50, n // 2

    def ours(splitter) -> float:
        return seconds(lambda: next(splitter.split(X)))

    options = {"test_size": 0.5, "random_state": 0}
    small = [1000, 2000]
    # both sides in turn, since others may use the machine
    before = seconds(lambda: products(X, steps)) / steps * half
    maximal = ours(MaxSeparationSplit(**options))
    after = seconds(lambda: products(X, steps)) / steps * half
    loop = [seconds(lambda m=m: published_loop(X[:m])) for m in small]
    seed = ours(SeedSimilaritySplit(**options))
    subset = seconds(lambda: subset_loop(X, steps)) / steps * half
    candidates = ours(SeedSimilaritySplit(candidates=1000, **options))
    mean = ours(SeparatedSplit(**options))
    extrapolated = loop[1] * (n / small[1]) ** 3
    print(f"{n} x {d} float32, half for the test\n")
    print(f"{'split':<40}{'here':>9}  {'against':>12}{'ratio':>11}")
    for name, here, other, text in (
        (
            "SeedSimilaritySplit",
            seed,
            extrapolated,
            f"loop over all pairs: {loop[0]:.2f} s for {small[0]}, {loop[1]:.2f} s for "
            f"{small[1]}, extrapolated by N³",
        ),
        (
            "SeedSimilaritySplit(candidates=1000)",
            candidates,
            subset,
            f"loop over subsets, {steps} steps timed",
        ),
        (
            "MaxSeparationSplit",
            maximal,
            (before + after) / 2,
            f"{half} products, {steps} timed before and after",
        ),
    ):
        print(
            f"{name:<40}{here:>7.2f} s  {other:>9.1f} s  {other / here:>7.0f} x  {text}"
        )
    print(f"{'SeparatedSplit':<40}{mean:>7.2f} s")


if __name__ == "__main__":
    main()
