"""Edge counts stored beside a prepared set, and what is read before the first step."""

import concurrent.futures
import dataclasses
import shutil

import numpy as np
import pytest
from backbones import count_triplets, neighbors
from bench.batches.edge_counts import edge_count_file, load_edge_counts
from bench.dataset.opening import load_for_training
from bench.dataset.preparing import prepare
from bench.experiment.runner import GridRunner
from bench.settings.preparation import PreparationSettings


@pytest.fixture
def folder(structure_file, tmp_path):
    prepare(PreparationSettings(source=str(structure_file)), tmp_path / "set")
    return tmp_path / "set"


@pytest.fixture
def counted(monkeypatch):
    """Number of structures whose edges are counted, call by call."""
    from bench.batches import edge_counts

    calls, count = [], edge_counts._count

    def spy(columns, cutoff, pool):
        calls.append(len(columns))
        return count(columns, cutoff, pool)

    monkeypatch.setattr(edge_counts, "_count", spy)
    return calls


def expected_counts(data, cutoff):
    structures = [sample.structure for sample in data.samples]
    pairs = [neighbors(s.positions, s.cell, cutoff) for s in structures]
    return [(len(p), count_triplets(p)) for p in pairs]


def test_counts_are_those_of_the_neighbor_lists(folder, monkeypatch):
    monkeypatch.setattr("bench.batches.edge_counts.BLOCK", 5)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name in (str(folder), "frameworks"):
            data = load_for_training(name)
            data = dataclasses.replace(data, order=data.order[3:15])
            for executor in (None, pool):
                counts = load_edge_counts(data, 3.5, executor)
                assert list(zip(*counts, strict=True)) == expected_counts(data, 3.5)


def test_stored_counts_are_used_for_the_same_data_and_cutoff(folder, counted):
    data = load_for_training(str(folder))
    first = load_edge_counts(data, 3.5)
    again = load_edge_counts(load_for_training(str(folder)), 3.5)
    assert counted == [len(data)]
    np.testing.assert_array_equal(first, again)
    assert load_edge_counts(data, 2.0).edges.sum() < first.edges.sum()
    assert len(counted) == 2 and edge_count_file(folder, 2.0).exists()


@pytest.mark.parametrize("change", ["data", "cutoff", "damage"])
def test_stored_counts_that_do_not_fit_are_not_used(
    change, folder, counted, capsys, tmp_path, structure_file
):
    data = load_for_training(str(folder))
    counts = load_edge_counts(data, 3.5)
    path = edge_count_file(folder, 3.5)
    if change == "data":
        content = path.read_bytes()
        shutil.rmtree(folder)
        filters = {"sample": len(data) - 1}
        prepare(
            PreparationSettings(source=str(structure_file), filters=filters), folder
        )
        path.write_bytes(content)
    elif change == "cutoff":
        load_edge_counts(data, 2.0)
        shutil.copy(edge_count_file(folder, 2.0), path)
    else:
        path.write_bytes(path.read_bytes()[:-40])
    counted.clear(), capsys.readouterr()
    data = load_for_training(str(folder))
    remade = load_edge_counts(data, 3.5)
    assert counted == [len(data)] and f"{path} is " in capsys.readouterr().out
    assert list(zip(*remade, strict=True)) == expected_counts(data, 3.5)
    assert change == "data" or np.array_equal(remade, counts)
    load_edge_counts(data, 3.5)
    assert len(counted) == 1


def test_counts_that_cannot_be_stored_are_used_all_the_same(
    folder, counted, monkeypatch, capsys
):
    def read_only(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("bench.batches.edge_counts.write_bytes", read_only)
    data = load_for_training(str(folder))
    assert len(load_edge_counts(data, 3.5).edges) == len(data)
    assert "cannot be written (Permission denied)" in capsys.readouterr().out
    assert not edge_count_file(folder, 3.5).exists()


class FirstBatch(BaseException):
    """Stops a run before its first batch; no handler of the bench catches it."""


def test_no_structure_is_decoded_before_the_first_batch(
    small_grid, folder, tmp_path, monkeypatch
):
    """Only one per batch shape, which shows that the layers need no plan.

    The type checks of the tests look at two more.
    """
    from bench.dataset import opening

    decoded, decode = [], opening._sample

    def spy(columns, i):
        decoded.append(i)
        return decode(columns, i)

    def stop(*_):
        raise FirstBatch

    threads = concurrent.futures.ThreadPoolExecutor
    monkeypatch.setattr("bench.batches.neighbors.LARGE", 10)
    monkeypatch.setattr("bench.batches.neighbors.edge_pool", threads)
    monkeypatch.setattr("bench.training.loop.step_inputs", stop)
    monkeypatch.setattr(opening, "_sample", spy)
    changes = {"dataset": str(folder), "splits": ("random",), "long_range": ("les",)}
    grid = small_grid.model_copy(update=changes)
    (tmp_path / "out").mkdir()
    runner = GridRunner(grid, tmp_path / "out")
    with pytest.raises(FirstBatch):
        runner.run_one(grid.runs()[0], lambda row: None)
    assert len(decoded) <= 3 * grid.train.num_buckets < len(runner.data)
    assert len(runner.data.samples[0].structure) and len(decoded) > 0
