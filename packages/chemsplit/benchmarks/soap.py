"""SOAP of MOFs: time and memory, compared with DScribe for all elements at once.

`mean_soap` describes 250 and 500 MOFs of QMOF on all cores and 500 on one core, while
the memory of this process and of its workers is sampled. It should grow with the size
of the result only (on one core this process also loads DScribe). DScribe describes
three of the same MOFs with columns for all elements of the set, dense as by default, in
a separate process; its time for the whole set is extrapolated.

The MOFs are read from the folder `qmof` of `BENCH_DATA`, by default `shared/data` next
to the repository.

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
    default = Path(__file__).parents[4] / "shared" / "data"
    path = Path(os.environ.get("BENCH_DATA", default)) / "qmof" / "qmof_dev.npz"
    if not path.exists():
        sys.exit(f"{path} does not exist; set BENCH_DATA to the folder of data sets.")
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
    """Resident memory of a process, and of all its descendants, bytes."""
    parent, descendants = 0, 0
    try:
        status = Path(f"/proc/{process}/status").read_text().splitlines()
        parent = next(1024 * int(s.split()[1]) for s in status if s.startswith("VmRSS"))
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text().split():
                descendants += sum(resident(int(child)))
    except (OSError, StopIteration):
        pass
    return parent, descendants


class ResourceMonitor:
    """Time, and peak memory of this process and of its workers."""

    def __enter__(self):
        self.parent = self.workers = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        self.start = time.perf_counter()
        return self

    def sample(self) -> None:
        """Sample memory every 0.05 s."""
        while not self.ended.wait(0.05):
            parent, workers = resident(os.getpid())
            self.parent = max(self.parent, parent)
            self.workers = max(self.workers, workers)

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
for structure in structures[:{n_timed}]:
    soap.create(structure)
print(len(species), (time.perf_counter() - start) / {n_timed},
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def dense(count: int, n_timed: int) -> tuple[int, float, float]:
    """Measure DScribe: number of elements, seconds per MOF and peak memory."""
    code = DENSE.format(folder=str(Path(__file__).parent), count=count, n_timed=n_timed)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    n_elements, seconds, memory = done.stdout.split()
    return int(n_elements), float(seconds), float(memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 MOFs")
    count = 100 if parser.parse_args().quick else 500
    structures = mofs(count)
    mean_soap(structures[:40], n_jobs=-1)  # start the workers
    base, _ = resident(os.getpid())
    head = ("MOFs", "cores", "time", "result", "growth", "workers")
    print("{:>5} {:>5} {:>8} {:>9} {:>9} {:>9}".format(*head))
    one_core = 0.0
    for size, jobs in ((count // 2, -1), (count, -1), (count, 1)):
        with ResourceMonitor() as monitor:
            X = mean_soap(structures[:size], n_jobs=jobs)
        result = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
        cores = os.cpu_count() if jobs == -1 else jobs
        print(
            f"{size:>5} {cores:>5} {monitor.seconds:>6.1f} s {result / 1e6:>6.0f} MB "
            f"{(monitor.parent - base) / 1e6:>6.0f} MB {monitor.workers / 1e6:>6.0f} MB"
        )
        one_core = monitor.seconds
        del X
    n_timed = 3
    n_elements, seconds, memory = dense(count, n_timed)
    print(
        f"\nDScribe for all {n_elements} elements, dense, one core: {seconds:.2f} s "
        f"per MOF ({n_timed} timed), {seconds * count:.0f} s for {count} "
        f"(extrapolated), {seconds * count / one_core:.1f} times as long as "
        f"mean_soap on one core; "
        f"peak memory {memory / 1e9:.2f} GB."
    )


if __name__ == "__main__":
    main()
