"""Edges against matscipy's, in this process and in others."""

import concurrent.futures

import numpy as np
import pytest
from backbones import Structure
from bench._dataset import load
from bench._edges import edges_ahead
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
    structures = [s.structure for s in load(name).samples[::150]]
    (found,) = edges_ahead([structures], 4.5)
    assert len(structures) > 3
    for structure, pairs in zip(structures, found, strict=True):
        assert as_pairs(pairs) == direct(structure, 4.5) != []


def test_a_cell_smaller_than_the_cutoff_sees_its_images():
    slanted = np.array([[2.1, 0, 0], [0.7, 2.3, 0], [-0.4, 0.5, 2.6]])
    tiny = Structure(
        np.array([6, 8]), np.array([[0.1, 0, 0], [1.2, 1.0, 0.9]]), slanted
    )
    ((pairs,),) = edges_ahead([[tiny]], 5.0)
    assert as_pairs(pairs) == direct(tiny, 5.0)
    assert len(pairs) > 50


def test_other_processes_find_the_same_in_the_same_order():
    structures = [s.structure for s in load("ions").samples[::200]]
    batches = [structures[:4], structures[4:5], structures[5:], structures[:2]]
    here = list(edges_ahead(batches, 4.0))
    there = list(edges_ahead(batches, 4.0, workers=2, depth=2))
    for a, b in zip(here, there, strict=True):
        for first, second in zip(a, b, strict=True):
            for x, y in zip(first, second, strict=True):
                np.testing.assert_array_equal(x, y)


def test_no_more_is_taken_ahead_than_asked_for(monkeypatch):
    threads = concurrent.futures.ThreadPoolExecutor
    pool = lambda workers, context: threads(workers)
    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor", pool)
    taken = []
    structure = Structure(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 1.0]]))

    def endless():
        while True:
            taken.append(len(taken))
            yield [structure]

    stream = edges_ahead(endless(), 2.0, workers=1, depth=3)
    for count in range(1, 6):
        ((pairs,),) = [next(stream)]
        assert len(pairs) == 2 and len(taken) == count + 2
    stream.close()
