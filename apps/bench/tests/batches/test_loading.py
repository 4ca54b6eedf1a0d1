"""The loader: what comes in which order, from where it can go on, and how it ends."""

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
from bench.dataset.request import PreparationRequest
from bench.model.building import build_potential
from bench.settings.grid import Grid

ATOMIC_ENERGIES = {1: -13.0, 6: -1000.0, 8: -2000.0}


@pytest.fixture
def grid(tmp_path, springs):
    """Structures of three sizes, crystals, some without forces or charges."""
    frames = [springs(i, periodic=True) for i in range(22)]
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
    prepare(PreparationRequest(str(path)), tmp_path / "set")
    return Grid(
        dataset=str(tmp_path / "set"),
        model={"mace": {"channels": 4, "l_max": 1, "radial_mlp": [8]}, "cutoff": 4.0},
        train={"epochs": 1, "batch": 4, "buckets": 2},
    )


def backbone_of(grid):
    run = next(r for r in grid.runs() if r.long_range == "les")
    return build_potential(
        grid.model, run, ATOMIC_ENERGIES, avg_num_neighbors=1.0, scale=1.0
    ).backbone


def batched_for(grid):
    return batch_dataset(load_for_training(grid.dataset), grid, backbone_of(grid))


def flat(batches):
    """Everything that a model is given, as arrays on the host."""
    return [[np.asarray(x) for x in jax.tree.leaves(given)] for given in batches]


def assert_equal(some, others):
    assert len(some) == len(others)
    for a, b in zip(some, others, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_every_sample_comes_once_with_its_labels(grid):
    batched = batched_for(grid)
    members = np.setdiff1d(np.arange(22), [3, 7])
    rng = np.random.default_rng(0)
    seen = []
    shapes = set()
    for chosen, batch, targets in batched.batches(members, ATOMIC_ENERGIES, rng):
        shapes.add((batch.species.shape, batch.senders.shape))
        for g, index in enumerate(chosen):
            sample = batched.data.samples[int(index)]
            n = len(sample.structure)
            numbers = sample.structure.numbers
            seen.append(int(index))
            np.testing.assert_array_equal(batch.species[g, :n], numbers)
            assert not batch.mask[g, n:].any() and batch.mask[g, :n].all()
            own = sample.energy - sum(ATOMIC_ENERGIES[int(z)] for z in numbers)
            np.testing.assert_allclose(targets.energy[g], own, rtol=1e-6)
            for label, values, weight in (
                (sample.forces, targets.forces, targets.force_weight),
                (sample.charges, targets.charges, targets.charge_weight),
            ):
                assert np.all(weight[g, :n] == (label is not None))
                assert not weight[g, n:].any()
                if label is not None:
                    np.testing.assert_allclose(values[g, :n], label, rtol=1e-6)
        rest = slice(len(chosen), None)
        assert not targets.energy_weight[rest].any() and not batch.mask[rest].any()
    assert sorted(seen) == members.tolist() and len(shapes) == 2


def test_batches_are_those_of_backbones_pack(grid):
    """The same shapes, edges and plans as when all structures are packed at once."""
    batched = batched_for(grid)
    buckets = pack(
        [s.structure for s in batched.data.samples],
        cutoff=4.0,
        graphs=4,
        buckets=2,
        plan_for=backbone_of(grid).plan_for,
    )
    found = iter(batched.batches(np.arange(22), ATOMIC_ENERGIES))
    for bucket in buckets:
        for first in range(0, len(bucket), 4):
            rows = range(first, min(first + 4, len(bucket)))
            chosen, batch, _ = next(found)
            np.testing.assert_array_equal(chosen, bucket.members[rows])
            assert_equal(flat([batch]), flat([bucket.batch(rows)]))
    assert next(found, None) is None


def test_the_seed_decides_the_order(grid):
    batched = batched_for(grid)
    order = lambda rng: [
        i.tolist() for i, _, _ in batched.batches(np.arange(22), ATOMIC_ENERGIES, rng)
    ]
    seeded = lambda seed: order(np.random.default_rng([seed, 3]))
    assert seeded(1) == seeded(1) != seeded(2)
    assert order(None) == order(None) != seeded(1)
    assert len(seeded(1)) == batched.count(np.arange(22))


@pytest.mark.parametrize("start", [0, 1, 4, 6, 9])
def test_an_epoch_goes_on_in_its_middle(grid, start):
    whole = batched_for(grid).batches(
        np.arange(22), ATOMIC_ENERGIES, np.random.default_rng(5)
    )
    whole = flat(whole)
    fresh = batched_for(grid)
    rest = fresh.batches(
        np.arange(22), ATOMIC_ENERGIES, np.random.default_rng(5), start
    )
    assert_equal(flat(rest), whole[start:])


@pytest.mark.parametrize("start", [0, 2, 3])
def test_steps_of_several_batches_go_on_in_the_middle_too(grid, start):
    of = lambda **more: flat(
        batched_for(grid).steps(
            np.arange(22), ATOMIC_ENERGIES, np.random.default_rng(5), 2, **more
        )
    )
    assert len(of()) == batched_for(grid).count(np.arange(22), 2)
    assert_equal(of(start=start), of()[start:])


def test_edges_of_other_processes_make_the_same_batches(grid, monkeypatch):
    here = flat(batched_for(grid).batches(np.arange(22), ATOMIC_ENERGIES))
    monkeypatch.setattr("bench.batches.neighbors.LARGE", 10)
    monkeypatch.setattr("bench.batches.neighbors.available_cores", lambda: 1)
    batched = batched_for(grid)
    assert batched.edges.kept is None
    assert_equal(flat(batched.batches(np.arange(22), ATOMIC_ENERGIES)), here)
    batched.edges.pool.shutdown()


def test_items_are_made_ahead_but_not_further_than_asked():
    made = []

    def items():
        for i in range(9):
            made.append((i, threading.current_thread().name))
            yield i

    stream = prefetch(items(), depth=2)
    assert made == []
    for i in range(9):
        assert next(stream) == i
        deadline = time.monotonic() + 5
        while len(made) < min(i + 2, 9) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert min(i + 2, 9) <= len(made) <= min(i + 3, 9)
    assert next(stream, None) is None
    assert all("prefetch" in name for _, name in made)


def test_a_stream_that_breaks_says_why_and_one_that_is_left_ends():
    ended = []

    def items(broken):
        try:
            yield 1
            yield 2
            if broken:
                raise ValueError("the third is bad")
            yield from range(1000)
        finally:
            ended.append(broken)

    stream = prefetch(items(True))
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(ValueError, match="the third is bad"):
        next(stream)
    left = prefetch(items(False))
    assert next(left) == 1
    before = threading.active_count()
    left.close()
    assert ended == [True, False] and threading.active_count() == before - 1
