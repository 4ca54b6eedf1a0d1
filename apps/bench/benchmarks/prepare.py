"""Times preparing and reading data, each claim with both of its sides in one run.

1. Preparing the 11 039 MOFs of `data/qmof` with all cores and with one: rows a second,
   by the clock and by processor time (which does not mind a busy machine).
2. Reading prepared structures against ASE reading the same rows from the source they
   came from (an `.aselmdb`, an extxyz file): rows a second of processor time, A-B-A-B,
   medians.
3. Finding edges (4.5 Å) in one process, and the loader's whole batches with edges found
   anew by another process, against a training step of a small MACE on the same MOFs:
   structures a second.

Data are looked for in the folder `BENCH_DATA` or `shared/data` beside the
repository; without it, made-up rows take their place. `--quick` reads a tenth.
"""

import argparse
import dataclasses
import os
import resource
import tempfile
import time
from pathlib import Path
from statistics import median

import ase.db
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from bench.dataset.filters import Filters
from bench.dataset.preparing import prepare
from bench.dataset.request import PreparationRequest
from bench.execution.workers import available_cores

BESIDE = Path(__file__).parents[3].parent / "shared" / "data"
DATA = Path(os.environ.get("BENCH_DATA") or BESIDE)


def processor():
    """Seconds of processor time of this process and its children so far."""
    own, children = (resource.getrusage(w) for w in (0, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in (own, children))


def seconds(work, clock=time.perf_counter):
    """How long it takes by a clock, and what it returns."""
    began = clock()
    result = work()
    return clock() - began, result


def frames(count, atoms=100):
    """Made-up periodic structures with all labels."""
    rng = np.random.default_rng(0)
    # Atoms that coincide are left out when data are prepared.
    apart = 3.0 * np.array(list(np.ndindex(5, 5, 5)))
    for _ in range(count):
        made = ase.Atoms(
            rng.choice([1, 6, 8, 30], atoms),
            apart[:atoms] + rng.uniform(-0.7, 0.7, (atoms, 3)),
            cell=np.eye(3) * 15,
            pbc=True,
        )
        made.calc = SinglePointCalculator(
            made, energy=rng.normal(), forces=rng.normal(size=(atoms, 3))
        )
        yield made


def preparing(folder, quick):
    """Rows a second of the QMOF pool, or of as many made-up MOFs."""
    source = DATA / "qmof" / "qmof_dev.npz"
    if not source.exists() or quick:
        source = folder / "made.npz"
        count = 1000 if quick else 11_039
        rng = np.random.default_rng(0)
        sizes = rng.integers(20, 190, count)
        total = int(sizes.sum())
        np.savez(
            source,
            n_atoms=sizes,
            numbers=rng.choice(np.array([1, 6, 8, 30], np.uint8), total),
            frac=rng.uniform(size=(total, 3)).astype("f4"),
            cell=np.tile(np.eye(3) * 14, (count, 1, 1)),
            energy=rng.normal(size=count),
            charges=rng.normal(size=total).astype("f4"),
        )
    text = folder / "mofs.xyz"
    with text.open("w") as file:
        ase.io.write(file, list(frames(100 if quick else 1000)), format="extxyz")
    # What loads jax is imported where it is used, for each process reads this file.
    cores = available_cores()
    rows = []
    for name, path in (("npz", source), ("extxyz", text)):
        for workers in (1, cores):
            out = folder / f"{name}{workers}-{time.monotonic_ns()}"
            work = lambda p=path, o=out, w=workers: prepare(
                PreparationRequest(str(p)), o, workers=w
            )
            spent = processor()
            took, header = seconds(work)
            spent = processor() - spent
            title = f"prepare {name}, {workers} process(es)"
            rows.append((title, header["structures"] / took))
            rows.append(("  by processor time", header["structures"] / spent))
    return rows


def reading(folder, quick):
    """Prepared rows against ASE's of the same source."""
    from bench.dataset.opening import load_for_training

    count = 200 if quick else 2000
    made = list(frames(count))
    text, database = folder / "read.extxyz", folder / "read.aselmdb"
    ase.io.write(text, made, format="extxyz")
    with ase.db.connect(database, type="aselmdb") as file:
        for atoms in made:
            file.write(atoms)
    for path in (text, database):
        prepare(PreparationRequest(str(path)), folder / f"out-{path.suffix}", workers=0)

    def prepared(path):
        data = load_for_training(str(folder / f"out-{path.suffix}"))
        return sum(len(s.structure) + s.forces.shape[0] for s in data.samples)

    def by_ase(path):
        if path == text:
            all_of = ase.io.iread(text, ":")
        else:
            with ase.db.connect(database, type="aselmdb", readonly=True) as file:
                all_of = [row.toatoms() for row in file.select()]
        return sum(len(a) + a.get_forces().shape[0] for a in all_of)

    rows = []
    for path in (text, database):
        times = {prepared: [], by_ase: []}
        for _ in range(3):
            for work, found in times.items():
                took, size = seconds(
                    lambda work=work, path=path: work(path), time.process_time
                )
                assert size == 200 * count
                found.append(took)
        fast, slow = (median(t) for t in times.values())
        rows += [
            (f"ASE reads {path.suffix}", count / slow),
            (f"prepared, from {path.suffix} ({slow / fast:.1f} x)", count / fast),
        ]
    return rows


def edges(folder, quick):
    """Edges and batches of MOFs against training steps of a small model on them."""
    import equinox as eqx
    import jax
    from bench.batches.loading import batch_dataset
    from bench.batches.neighbors import edge_pool, prefetch_edges
    from bench.dataset.opening import load_for_training, open_dataset
    from bench.model.building import build_potential
    from bench.settings.grid import Grid
    from bench.training.loop import loss

    if DATA.exists():
        out = folder / "small"
        limit = Filters(min_atoms=60, max_atoms=100, require=("energy",))
        prepare(PreparationRequest(str(DATA / "qmof"), filters=limit), out)
        data = open_dataset(str(out))
    else:
        data = load_for_training("frameworks")
    members = np.arange(16 if quick else 64)
    data = dataclasses.replace(data, order=data.order[members])
    grid = Grid(dataset="mofs", long_range=("none",))
    elements = {int(z): 0.0 for s in data.samples for z in s.structure.numbers}
    (run, *_) = grid.runs()
    model = build_potential(
        grid.model, run, elements, avg_num_neighbors=30.0, scale=1.0
    )
    structures = [s.structure for s in data.samples]
    batches = [structures[i : i + 4] for i in range(0, len(structures), 4)]
    each = lambda work, times: median(seconds(work)[0] for _ in range(times))
    finding = each(lambda: list(prefetch_edges(batches, 4.5)), 5)
    batched = batch_dataset(data, grid, model.backbone)
    # As in a set of more atoms than edges are kept of.
    anew = dataclasses.replace(batched.edges, kept=None, pool=edge_pool(1))
    batched = dataclasses.replace(batched, edges=anew)
    loading = lambda: list(batched.batches(members, elements))
    inputs = [(batch, targets) for _, batch, targets in loading()]
    building = each(loading, 5)
    work = lambda model, pair: loss(model, *pair, grid.train.loss)
    step = eqx.filter_jit(eqx.filter_value_and_grad(work))
    jax.block_until_ready(step(model, inputs[0]))
    passing = each(lambda: [jax.block_until_ready(step(model, b)) for b in inputs], 3)
    rate = lambda took: len(structures) / took
    return [
        ("edges, one process", rate(finding)),
        ("batches with edges of another process", rate(building)),
        (
            f"gradient of MACE ({passing / finding:.0f} x, {passing / building:.0f} x)",
            rate(passing),
        ),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    for part in (preparing, reading, edges):
        with tempfile.TemporaryDirectory() as folder:
            for name, rate in part(Path(folder), quick):
                print(f"{name:45s} {rate:10.0f} rows/s", flush=True)


if __name__ == "__main__":
    main()
