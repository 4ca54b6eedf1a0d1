"""Speed of preparing and reading data, with both sides of a comparison in one run.

1. Preparing the 11 039 MOFs of `data/qmof` with all cores and with one: rows per
   second, in wall time and in processor time, which a busy machine affects less.
2. Reading prepared structures, compared with ASE reading the same rows from their
   source (an `.aselmdb`, an extxyz file): rows per second of processor time,
   alternating, medians.
3. Edges (4.5 Å) in one process, and batches whose edges are computed again by another
   process, compared with a training step of a small MACE on the same MOFs: structures
   per second.

Data are read from the folder `BENCH_DATA`, by default `shared/data` next to the
repository; if it does not exist, random structures are used. `--quick` reads a tenth.
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
from bench.dataset.preparing import prepare
from bench.execution.workers import available_cores
from bench.settings.preparation import Filters, PreparationSettings

DEFAULT_DATA = Path(__file__).parents[3].parent / "shared" / "data"
DATA = Path(os.environ.get("BENCH_DATA") or DEFAULT_DATA)


def processor_time():
    """Returns the processor time of this process and its children so far, s."""
    usages = (resource.getrusage(w) for w in (0, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in usages)


def seconds(function, clock=time.perf_counter):
    """Returns the time of one call and its result."""
    start = clock()
    result = function()
    return clock() - start, result


def frames(count, n_atoms=100):
    """Yields random periodic structures with energies and forces."""
    rng = np.random.default_rng(0)
    # Preparing excludes structures with coinciding atoms.
    lattice = 3.0 * np.array(list(np.ndindex(5, 5, 5)))
    for _ in range(count):
        atoms = ase.Atoms(
            rng.choice([1, 6, 8, 30], n_atoms),
            lattice[:n_atoms] + rng.uniform(-0.7, 0.7, (n_atoms, 3)),
            cell=np.eye(3) * 15,
            pbc=True,
        )
        atoms.calc = SinglePointCalculator(
            atoms, energy=rng.normal(), forces=rng.normal(size=(n_atoms, 3))
        )
        yield atoms


def measure_preparing(folder, quick):
    """Returns rows per second for QMOF, or for as many random structures."""
    source = DATA / "qmof" / "qmof_dev.npz"
    if not source.exists() or quick:
        source = folder / "random.npz"
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
    # Modules that load JAX are imported in functions, since each worker process
    # imports this file.
    cores = available_cores()
    rows = []
    for name, path in (("npz", source), ("extxyz", text)):
        for workers in (1, cores):
            out = folder / f"{name}{workers}-{time.monotonic_ns()}"
            run = lambda p=path, o=out, w=workers: prepare(
                PreparationSettings(source=str(p)), o, workers=w
            )
            cpu_start = processor_time()
            elapsed, header = seconds(run)
            cpu_time = processor_time() - cpu_start
            title = f"prepare {name}, {workers} process(es)"
            rows.append((title, header["structures"] / elapsed))
            rows.append(("  by processor time", header["structures"] / cpu_time))
    return rows


def measure_reading(folder, quick):
    """Returns rows per second of prepared data and of ASE for the same source."""
    from bench.dataset.opening import load_for_training

    count = 200 if quick else 2000
    structures = list(frames(count))
    text, database = folder / "read.extxyz", folder / "read.aselmdb"
    ase.io.write(text, structures, format="extxyz")
    with ase.db.connect(database, type="aselmdb") as file:
        for atoms in structures:
            file.write(atoms)
    for path in (text, database):
        prepare(
            PreparationSettings(source=str(path)),
            folder / f"out-{path.suffix}",
            workers=0,
        )

    def read_prepared(path):
        data = load_for_training(str(folder / f"out-{path.suffix}"))
        return sum(len(s.structure) + s.forces.shape[0] for s in data.samples)

    def read_with_ase(path):
        if path == text:
            rows = ase.io.iread(text, ":")
        else:
            with ase.db.connect(database, type="aselmdb", readonly=True) as file:
                rows = [row.toatoms() for row in file.select()]
        return sum(len(a) + a.get_forces().shape[0] for a in rows)

    rows = []
    for path in (text, database):
        times = {read_prepared: [], read_with_ase: []}
        for _ in range(3):
            for read, elapsed in times.items():
                time_taken, size = seconds(
                    lambda read=read, path=path: read(path), time.process_time
                )
                assert size == 200 * count
                elapsed.append(time_taken)
        prepared, with_ase = (median(t) for t in times.values())
        rows += [
            (f"ASE, from {path.suffix}", count / with_ase),
            (
                f"prepared, from {path.suffix} ({with_ase / prepared:.1f} x)",
                count / prepared,
            ),
        ]
    return rows


def measure_edges(folder, quick):
    """Returns structures per second of edges, batches and training steps."""
    import equinox as eqx
    import jax
    from bench.batches.loading import batch_dataset
    from bench.batches.neighbors import edge_pool, prefetch_edges
    from bench.dataset.opening import load_for_training, open_dataset
    from bench.dataset.per_element import elements_of
    from bench.model.building import build_potential
    from bench.settings.grid import Grid
    from bench.training.loss import loss

    if DATA.exists():
        out = folder / "small"
        filters = Filters(min_atoms=60, max_atoms=100, require=("energy",))
        prepare(PreparationSettings(source=str(DATA / "qmof"), filters=filters), out)
        data = open_dataset(str(out))
    else:
        data = load_for_training("frameworks")
    members = np.arange(16 if quick else 64)
    data = dataclasses.replace(data, order=data.order[members])
    grid = Grid(dataset="mofs", long_range=("none",))
    elements = dict.fromkeys(elements_of(data), 0.0)
    (run, *_) = grid.runs()
    model = build_potential(
        grid.model, run, elements, avg_num_neighbors=30.0, scale=1.0
    )
    structures = [s.structure for s in data.samples]
    batches = [structures[i : i + 4] for i in range(0, len(structures), 4)]
    median_time = lambda run, n: median(seconds(run)[0] for _ in range(n))
    edge_time = median_time(lambda: list(prefetch_edges(batches, 4.5)), 5)
    batched = batch_dataset(data, model.backbone, batch_size=grid.train.batch_size)
    batched = batched.with_atomic_energies(elements)
    # As for data sets with too many atoms to cache their edges.
    uncached = dataclasses.replace(batched.edges, cached=None, pool=edge_pool(1))
    batched = dataclasses.replace(batched, edges=uncached)
    rng = np.random.default_rng(0)
    make_batches = lambda: list(batched.steps(members, rng, 1))
    inputs = [pair for (pair,) in make_batches()]
    batch_time = median_time(make_batches, 5)
    loss_of = lambda model, pair: loss(model, *pair, grid.train.loss)
    step = eqx.filter_jit(eqx.filter_value_and_grad(loss_of))
    jax.block_until_ready(step(model, inputs[0]))
    run_steps = lambda: [jax.block_until_ready(step(model, b)) for b in inputs]
    step_time = median_time(run_steps, 3)
    rate = lambda elapsed: len(structures) / elapsed
    return [
        ("edges, one process", rate(edge_time)),
        ("batches with edges from another process", rate(batch_time)),
        (
            f"gradient of MACE ({step_time / edge_time:.0f} x, "
            f"{step_time / batch_time:.0f} x)",
            rate(step_time),
        ),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    for measure in (measure_preparing, measure_reading, measure_edges):
        with tempfile.TemporaryDirectory() as folder:
            for name, rate in measure(Path(folder), quick):
                print(f"{name:45s} {rate:10.0f} rows/s", flush=True)


if __name__ == "__main__":
    main()
