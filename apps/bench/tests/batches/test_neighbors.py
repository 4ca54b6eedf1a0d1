"""Edges against matscipy's, in this process and in others."""

import concurrent.futures

import numpy as np
import pytest
from backbones import Structure
from bench.batches.neighbors import edge_pool, find_edges, prefetch_edges
from bench.dataset.opening import load_for_training
from bench.exceptions import BenchError
from matscipy.neighbours import neighbour_list


def direct(structure, cutoff):
    """Directed pairs with shifts, sorted, by matscipy."""
    periodic = structure.cell is not None
    cell = structure.cell
    if not periodic:
        # matscipy wants a box even where nothing repeats.
        cell = np.diag(np.ptp(structure.positions, axis=0) + 4 * cutoff)
    i, j, shifts = neighbour_list(
        "ijS",
        cutoff=cutoff,
        positions=structure.positions,
        cell=cell,
        pbc=[periodic] * 3,
    )
    return sorted(zip(i.tolist(), j.tolist(), map(tuple, shifts.tolist()), strict=True))


def as_pairs(found):
    shifts = map(tuple, found.shifts.tolist())
    return sorted(
        zip(found.receivers.tolist(), found.senders.tolist(), shifts, strict=True)
    )


@pytest.mark.parametrize("name", ["frameworks", "ions"])
def test_edges_are_those_of_matscipy(name):
    structures = [s.structure for s in load_for_training(name).samples[::150]]
    (found,) = prefetch_edges([structures], 4.5)
    assert len(structures) > 3
    for structure, pairs in zip(structures, found, strict=True):
        assert as_pairs(pairs) == direct(structure, 4.5) != []


def test_a_cell_smaller_than_the_cutoff_sees_its_images():
    slanted = np.array([[2.1, 0, 0], [0.7, 2.3, 0], [-0.4, 0.5, 2.6]])
    tiny = Structure(
        np.array([6, 8]), np.array([[0.1, 0, 0], [1.2, 1.0, 0.9]]), slanted
    )
    ((pairs,),) = prefetch_edges([[tiny]], 5.0)
    assert as_pairs(pairs) == direct(tiny, 5.0)
    assert len(pairs) > 50


def test_other_processes_find_the_same_in_the_same_order():
    structures = [s.structure for s in load_for_training("ions").samples[::200]]
    batches = [structures[:4], structures[4:5], structures[5:], structures[:2]]
    here = list(prefetch_edges(batches, 4.0))
    with edge_pool(2) as pool:
        there = list(prefetch_edges(batches, 4.0, pool=pool, depth=2))
    for a, b in zip(here, there, strict=True):
        for first, second in zip(a, b, strict=True):
            for x, y in zip(first, second, strict=True):
                np.testing.assert_array_equal(x, y)


def test_no_more_is_taken_ahead_than_asked_for():
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
            assert len(pairs) == 2 and len(taken) == count + 2
        stream.close()


def test_a_large_set_keeps_counts_and_finds_its_edges_anew(monkeypatch):
    samples = load_for_training("ions").samples[::100]
    sizes = np.array([len(s.structure) for s in samples])
    structure = lambda i: samples[i].structure
    threads = concurrent.futures.ThreadPoolExecutor
    kept = find_edges(structure, sizes, 4.0)
    monkeypatch.setattr("bench.batches.neighbors.LARGE", 10)
    monkeypatch.setattr("bench.batches.neighbors.edge_pool", threads)
    anew = find_edges(structure, sizes, 4.0)
    assert kept.kept is not None and anew.kept is None
    for counts in (kept.counts, anew.counts):
        by_hand = [len(direct(s.structure, 4.0)) for s in samples]
        np.testing.assert_array_equal(counts.edges, by_hand)
    np.testing.assert_array_equal(kept.counts.triplets, anew.counts.triplets)
    batches = [np.array([3, 0]), np.array([2]), np.array([1, 5, 4])]
    for a, b in zip(kept.of(batches), anew.of(batches), strict=True):
        for first, second in zip(a, b, strict=True):
            for x, y in zip(first, second, strict=True):
                np.testing.assert_array_equal(x, y)


def test_triplets_are_counted_as_they_are_found():
    """Pairs of edges, one of which ends where the other starts, but for its reverse."""
    structure = load_for_training("ions").samples[700].structure
    (i, j, s) = zip(*direct(structure, 3.0), strict=True)
    assert not np.any(s), "open: no images"
    by_hand = sum(
        j[out] == i[into] and i[out] != j[into]
        for out in range(len(i))
        for into in range(len(i))
    )
    found = find_edges(lambda _: structure, np.array([len(structure)]), 3.0)
    assert found.counts.triplets.tolist() == [by_hand]


def test_a_process_that_ends_is_said():
    def ended(*_):
        raise concurrent.futures.process.BrokenProcessPool("gone")

    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit = ended
    structure = Structure(np.array([1]), np.zeros((1, 3)))
    with pytest.raises(BenchError, match="ended without a word"):
        list(prefetch_edges([[structure]], 3.0, pool=pool))
