"""Batches of a dataset: content, order, resumption and prefetching."""

import threading
import time

import ase.io
import jax
import numpy as np
import pytest
from backbones import pack
from bench.batches.loading import batch_dataset
from bench.batches.prefetching import prefetch
from bench.dataset.opening import load_for_training
from bench.dataset.preparing import prepare
from bench.model.building import build_potential
from bench.settings.grid import Grid
from bench.settings.preparation import PreparationSettings

ATOMIC_ENERGIES = {1: -13.0, 6: -1000.0, 8: -2000.0}


@pytest.fixture
def grid(tmp_path, toy_structure):
    """Crystals of three sizes, some without forces."""
    frames = [toy_structure(i, periodic=True) for i in range(22)]
    for i, atoms in enumerate(frames):
        results = atoms.calc.results
        for _ in range(i % 3):
            del atoms[-1]
        n = len(atoms)
        results |= {k: results[k][:n] for k in ("forces", "charges")}
        if i % 4 == 1:
            del results["forces"]
        atoms.calc.atoms = atoms.copy()
    path = tmp_path / "frames.extxyz"
    ase.io.write(path, frames, format="extxyz")
    prepare(PreparationSettings(source=str(path)), tmp_path / "set")
    return Grid(
        dataset=str(tmp_path / "set"),
        model={"mace": {"channels": 4, "l_max": 1, "radial_mlp": [8]}, "cutoff": 4.0},
        train={"epochs": 1, "batch_size": 4, "num_buckets": 2},
    )


def backbone_of(grid):
    run = next(r for r in grid.runs() if r.long_range == "les")
    return build_potential(
        grid.model, run, ATOMIC_ENERGIES, avg_num_neighbors=1.0, scale=1.0
    ).backbone


def batched_for(grid):
    data = load_for_training(grid.dataset)
    batched = batch_dataset(data, backbone_of(grid), batch_size=4, num_buckets=2)
    return batched.with_atomic_energies(ATOMIC_ENERGIES)


def flat(batches):
    """Inputs and labels of each batch as NumPy arrays."""
    return [[np.asarray(x) for x in jax.tree.leaves(batch)] for batch in batches]


def assert_equal(actual, expected):
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_every_sample_occurs_once_with_its_labels(grid):
    batched = batched_for(grid)
    members = np.setdiff1d(np.arange(22), [3, 7])
    seeded = lambda: np.random.default_rng(0)
    seen_indices = []
    shapes = set()
    for indices, ((batch, targets),) in zip(
        batched.step_members(members, seeded(), 1),
        batched.steps(members, seeded(), 1),
        strict=True,
    ):
        shapes.add((batch.species.shape, batch.senders.shape))
        for g, index in enumerate(indices):
            sample = batched.data.samples[int(index)]
            n = len(sample.structure)
            numbers = sample.structure.numbers
            seen_indices.append(int(index))
            np.testing.assert_array_equal(batch.species[g, :n], numbers)
            assert not batch.mask[g, n:].any() and batch.mask[g, :n].all()
            relative = sample.energy - sum(ATOMIC_ENERGIES[int(z)] for z in numbers)
            np.testing.assert_allclose(targets.values["energy"][g], relative, rtol=1e-6)
            for label, kind in ((sample.forces, "force"), (sample.charges, "charge")):
                values, weight = targets.values[kind], targets.weights[kind]
                assert np.all(weight[g, :n] == (label is not None))
                assert not weight[g, n:].any()
                if label is not None:
                    np.testing.assert_allclose(values[g, :n], label, rtol=1e-6)
        padding = slice(len(indices), None)
        assert not targets.weights["energy"][padding].any()
        assert not batch.mask[padding].any()
    assert sorted(seen_indices) == members.tolist() and len(shapes) == 2


def test_batches_are_those_of_backbones_pack(grid):
    """Same shapes, edges and plans as when all structures are packed at once."""
    batched = batched_for(grid)
    buckets = pack(
        [s.structure for s in batched.data.samples],
        cutoff=4.0,
        graphs=4,
        buckets=2,
        plan_for=backbone_of(grid).plan_for,
    )
    batches = iter(batched.batches(np.arange(22)))
    for bucket in buckets:
        for first in range(0, len(bucket), 4):
            rows = range(first, min(first + 4, len(bucket)))
            indices, batch = next(batches)
            np.testing.assert_array_equal(indices, bucket.members[rows])
            assert_equal(flat([batch]), flat([bucket.batch(rows)]))
    assert next(batches, None) is None


def test_the_seed_determines_the_order(grid):
    batched = batched_for(grid)
    order = lambda rng: [i.tolist() for i, _ in batched.batches(np.arange(22), rng)]
    seeded = lambda seed: order(np.random.default_rng([seed, 3]))
    assert seeded(1) == seeded(1) != seeded(2)
    assert order(None) == order(None) != seeded(1)
    assert len(seeded(1)) == batched.num_steps(np.arange(22))


@pytest.mark.parametrize("start", [0, 1, 4, 6, 9])
def test_an_epoch_resumes_in_the_middle(grid, start):
    epoch = lambda **options: flat(
        batched_for(grid).batches(np.arange(22), np.random.default_rng(5), **options)
    )
    assert_equal(epoch(start=start), epoch()[start:])


@pytest.mark.parametrize("start", [0, 2, 3])
def test_steps_of_several_batches_resume_in_the_middle(grid, start):
    epoch = lambda **options: flat(
        batched_for(grid).steps(np.arange(22), np.random.default_rng(5), 2, **options)
    )
    assert len(epoch()) == batched_for(grid).num_steps(np.arange(22), 2)
    assert_equal(epoch(start=start), epoch()[start:])


def test_edges_from_worker_processes_give_the_same_batches(grid, monkeypatch):
    cached = flat(batched_for(grid).batches(np.arange(22)))
    monkeypatch.setattr("bench.batches.neighbors.LARGE", 10)
    monkeypatch.setattr("bench.batches.neighbors.available_cores", lambda: 1)
    batched = batched_for(grid)
    assert batched.edges.cached is None
    assert_equal(flat(batched.batches(np.arange(22))), cached)
    batched.edges.pool.shutdown()


def test_prefetch_computes_at_most_depth_items_ahead():
    computed = []

    def items():
        for i in range(9):
            computed.append((i, threading.current_thread().name))
            yield i

    stream = prefetch(items(), depth=2)
    assert computed == []
    for i in range(9):
        assert next(stream) == i
        deadline = time.monotonic() + 5
        while len(computed) < min(i + 2, 9) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert min(i + 2, 9) <= len(computed) <= min(i + 3, 9)
    assert next(stream, None) is None
    assert all("prefetch" in name for _, name in computed)


def test_prefetch_raises_the_error_of_its_items_and_stops_when_closed():
    closed = []

    def items(raises):
        try:
            yield 1
            yield 2
            if raises:
                raise ValueError("the third fails")
            yield from range(1000)
        finally:
            closed.append(raises)

    stream = prefetch(items(True))
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(ValueError, match="the third fails"):
        next(stream)
    abandoned = prefetch(items(False))
    assert next(abandoned) == 1
    before = threading.active_count()
    abandoned.close()
    assert closed == [True, False] and threading.active_count() == before - 1
