"""Edges against those of matscipy, in this process and in worker processes."""

import concurrent.futures
import dataclasses

import numpy as np
import pytest
from backbones import Structure
from bench.batches.neighbors import edge_pool, find_edges, prefetch_edges
from bench.dataset.opening import load_for_training
from bench.exceptions import BenchError
from matscipy.neighbours import neighbour_list


def matscipy_edges(structure, cutoff):
    """Directed pairs with shifts by matscipy, sorted."""
    periodic = structure.cell is not None
    cell = structure.cell
    if not periodic:
        # matscipy requires a box even for open boundaries.
        cell = np.diag(np.ptp(structure.positions, axis=0) + 4 * cutoff)
    i, j, shifts = neighbour_list(
        "ijS",
        cutoff=cutoff,
        positions=structure.positions,
        cell=cell,
        pbc=[periodic] * 3,
    )
    return sorted(zip(i.tolist(), j.tolist(), map(tuple, shifts.tolist()), strict=True))


def structures_of(name, step):
    """A part of a bundled dataset."""
    data = load_for_training(name)
    return dataclasses.replace(data, order=data.order[::step])


def sorted_edges(edges):
    shifts = map(tuple, edges.shifts.tolist())
    return sorted(
        zip(edges.receivers.tolist(), edges.senders.tolist(), shifts, strict=True)
    )


@pytest.mark.parametrize("name", ["frameworks", "ions"])
def test_edges_are_those_of_matscipy(name):
    structures = [s.structure for s in load_for_training(name).samples[::150]]
    (edges,) = prefetch_edges([structures], 4.5)
    assert len(structures) > 3
    for structure, pairs in zip(structures, edges, strict=True):
        assert sorted_edges(pairs) == matscipy_edges(structure, 4.5) != []


def test_a_cell_smaller_than_the_cutoff_includes_periodic_images():
    triclinic = np.array([[2.1, 0, 0], [0.7, 2.3, 0], [-0.4, 0.5, 2.6]])
    tiny = Structure(
        np.array([6, 8]), np.array([[0.1, 0, 0], [1.2, 1.0, 0.9]]), triclinic
    )
    ((pairs,),) = prefetch_edges([[tiny]], 5.0)
    assert sorted_edges(pairs) == matscipy_edges(tiny, 5.0)
    assert len(pairs) > 50


def test_worker_processes_find_the_same_edges_in_the_same_order():
    structures = [s.structure for s in load_for_training("ions").samples[::200]]
    batches = [structures[:4], structures[4:5], structures[5:], structures[:2]]
    serial = list(prefetch_edges(batches, 4.0))
    with edge_pool(2) as pool:
        parallel = list(prefetch_edges(batches, 4.0, pool=pool, depth=2))
    for a, b in zip(serial, parallel, strict=True):
        for first, second in zip(a, b, strict=True):
            for x, y in zip(first, second, strict=True):
                np.testing.assert_array_equal(x, y)


def test_at_most_depth_batches_are_taken_ahead():
    taken = []
    structure = Structure(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 1.0]]))

    def endless():
        while True:
            taken.append(len(taken))
            yield [structure]

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        stream = prefetch_edges(endless(), 2.0, pool=pool, depth=3)
        for count in range(1, 6):
            ((pairs,),) = [next(stream)]
            # None are taken ahead before the pool has started.
            assert len(pairs) == 2 and count <= len(taken) <= count + 2
        stream.close()


def test_a_large_set_recomputes_its_edges(monkeypatch):
    data = structures_of("ions", 100)
    samples = data.samples
    threads = concurrent.futures.ThreadPoolExecutor
    cached = find_edges(data, 4.0)
    monkeypatch.setattr("bench.batches.neighbors.LARGE", 10)
    monkeypatch.setattr("bench.batches.neighbors.edge_pool", threads)
    recomputed = find_edges(data, 4.0)
    assert cached.cached is not None and recomputed.cached is None
    for counts in (cached.counts, recomputed.counts):
        expected = [len(matscipy_edges(s.structure, 4.0)) for s in samples]
        np.testing.assert_array_equal(counts.edges, expected)
    np.testing.assert_array_equal(cached.counts.triplets, recomputed.counts.triplets)
    batches = [np.array([3, 0]), np.array([2]), np.array([1, 5, 4])]
    for a, b in zip(
        cached.for_batches(batches), recomputed.for_batches(batches), strict=True
    ):
        for first, second in zip(a, b, strict=True):
            for x, y in zip(first, second, strict=True):
                np.testing.assert_array_equal(x, y)


def test_triplet_counts():
    """Edges k -> j and j -> i with k != i."""
    data = load_for_training("ions")
    data = dataclasses.replace(data, order=data.order[700:701])
    structure = data.samples[0].structure
    (i, j, s) = zip(*matscipy_edges(structure, 3.0), strict=True)
    assert not np.any(s), "open boundaries: no images"
    expected = sum(
        j[out] == i[into] and i[out] != j[into]
        for out in range(len(i))
        for into in range(len(i))
    )
    edges = find_edges(data, 3.0)
    assert edges.counts.triplets.tolist() == [expected]


def test_a_crashed_worker_process_raises():
    def crash(*_):
        raise concurrent.futures.process.BrokenProcessPool("gone")

    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit = crash
    structure = Structure(np.array([1]), np.zeros((1, 3)))
    with pytest.raises(BenchError, match="terminated unexpectedly"):
        list(prefetch_edges([[structure]], 3.0, pool=pool))
