"""SOAP of MOFs: time and memory, against DScribe over all elements of the set.

`mean_soap` describes 500 MOFs of QMOF on one core and on all, with the memory of this
process and of all its workers sampled meanwhile, at two sizes of the set: memory should
grow with the result only (on one core this process also loads DScribe). DScribe
describes a few of the same MOFs over all elements of
the set at once, dense as by default, in a process of its own; its time for the whole
set is extrapolated.

The MOFs are read from the folder `qmof` of `BENCH_DATA`, or of `shared/data`
beside the repository.

    uv run --package chemsplit packages/chemsplit/benchmarks/soap.py [--quick]
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from ase import Atoms

from chemsplit import mean_soap


def data_set() -> Path:
    beside = Path(__file__).parents[4] / "shared" / "data"
    path = Path(os.environ.get("BENCH_DATA", beside)) / "qmof" / "qmof_dev.npz"
    if not path.exists():
        sys.exit(f"{path} is absent; set BENCH_DATA to the folder of data sets.")
    return path


def mofs(count: int) -> list[Atoms]:
    with np.load(data_set()) as file:
        arrays = {name: file[name] for name in ("numbers", "frac", "cell", "n_atoms")}
    ends = np.cumsum(arrays["n_atoms"])
    chosen = np.random.default_rng(0).permutation(len(ends))[:count]
    spans = [slice(ends[i] - arrays["n_atoms"][i], ends[i]) for i in chosen]
    return [
        Atoms(
            arrays["numbers"][span],
            scaled_positions=arrays["frac"][span].astype(float),
            cell=arrays["cell"][i].astype(float),
            pbc=True,
        )
        for i, span in zip(chosen, spans, strict=True)
    ]


def resident(process: int) -> tuple[int, int]:
    """Memory of a process, and of all its descendants, bytes."""
    own, below = 0, 0
    try:
        status = Path(f"/proc/{process}/status").read_text().splitlines()
        own = next(1024 * int(s.split()[1]) for s in status if s.startswith("VmRSS"))
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text().split():
                below += sum(resident(int(child)))
    except (OSError, StopIteration):
        pass
    return own, below


class Sampled:
    """Time, and the most memory of this process and of its workers."""

    def __enter__(self):
        self.own = self.workers = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        self.start = time.perf_counter()
        return self

    def sample(self) -> None:
        """Look every twentieth of a second."""
        while not self.ended.wait(0.05):
            own, workers = resident(os.getpid())
            self.own, self.workers = max(self.own, own), max(self.workers, workers)

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.start
        self.ended.set()
        self.thread.join()


DENSE = """
import resource, sys, time
sys.path.insert(0, {folder!r})
from soap import mofs
from dscribe.descriptors import SOAP
structures = mofs({count})
species = sorted({{z for s in structures for z in s.numbers.tolist()}})
soap = SOAP(species=species, r_cut=4.0, n_max=9, l_max=9, sigma=0.1, periodic=True,
            average="outer")
start = time.perf_counter()
for structure in structures[:{few}]:
    soap.create(structure)
print(len(species), (time.perf_counter() - start) / {few},
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def dense(count: int, few: int) -> tuple[int, float, float]:
    """DScribe's elements, seconds a MOF and peak memory, in a process of its own."""
    code = DENSE.format(folder=str(Path(__file__).parent), count=count, few=few)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    elements, each, memory = done.stdout.split()
    return int(elements), float(each), float(memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 MOFs")
    count = 100 if parser.parse_args().quick else 500
    structures = mofs(count)
    mean_soap(structures[:40], n_jobs=-1)  # start the workers
    base, _ = resident(os.getpid())
    head = ("MOFs", "cores", "time", "result", "growth", "workers")
    print("{:>5} {:>5} {:>8} {:>9} {:>9} {:>9}".format(*head))
    whole = 0.0
    for size, jobs in ((count // 2, -1), (count, -1), (count, 1)):
        with Sampled() as seen:
            X = mean_soap(structures[:size], n_jobs=jobs)
        result = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
        cores = os.cpu_count() if jobs == -1 else jobs
        print(
            f"{size:>5} {cores:>5} {seen.seconds:>6.1f} s {result / 1e6:>6.0f} MB "
            f"{(seen.own - base) / 1e6:>6.0f} MB {seen.workers / 1e6:>6.0f} MB"
        )
        whole = seen.seconds
        del X
    few = 3
    elements, each, memory = dense(count, few)
    print(
        f"\nDScribe over all {elements} elements, dense, one core: {each:.2f} s a MOF "
        f"({few} timed), {each * count:.0f} s for {count} (extrapolated), "
        f"{each * count / whole:.1f} times as long as here on one core; "
        f"peak memory {memory / 1e9:.2f} GB."
    )


if __name__ == "__main__":
    main()
