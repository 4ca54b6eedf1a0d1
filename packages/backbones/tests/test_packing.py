import itertools

import backbones as bb
import jax
import numpy as np
import pytest
from backbones._packing import size_classes


def test_size_classes_have_the_least_padding():
    sizes = np.array([3, 9, 4, 10, 3, 30, 31, 9])
    classes = size_classes(sizes, 3)
    assert sorted(np.concatenate(classes)) == list(range(8))
    slots = lambda parts: sum(len(p) * max(p) for p in parts)
    actual = slots([sizes[c] for c in classes])
    ordered = np.sort(sizes)
    partitions = [
        slots([p for p in np.split(ordered, cuts) if len(p)])
        for cuts in itertools.combinations(range(1, 8), 2)
    ]
    assert actual == min(partitions)


def test_more_buckets_than_sizes():
    assert len(size_classes(np.array([5, 5, 5]), 4)) == 1


def test_batches_contain_all_atoms_and_edges(structure):
    parts = [structure(1, atoms=5), structure(2, atoms=8)]
    (bucket,) = bb.pack(parts, cutoff=4.0, graphs=3)
    batch = bucket.batch([0, 1])
    assert batch.species.shape == (2, 8)
    assert batch.mask.sum() == 13
    assert batch.edge_mask.sum() == sum(map(len, bucket.pairs))
    assert np.all(np.diff(batch.receivers) >= 0)
    vectors = batch.edge_vectors(padding_length=4.0)
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.all(lengths[np.asarray(batch.edge_mask)] < 4.0)
    assert np.all(lengths[~np.asarray(batch.edge_mask)] == 4.0)
    assert bucket.atom_efficiency == 13 / 16
    assert 0 < bucket.edge_efficiency <= 1


def test_one_compilation_per_bucket(structure, mace):
    traces = []

    @jax.jit
    def energy(batch):
        traces.append(1)
        return potential(batch).energy

    potential = mace()
    parts = [structure(i, atoms=5 + i % 3) for i in range(6)]
    (bucket,) = bb.pack(parts, cutoff=4.0, graphs=2, dtype=np.float64)
    for rows in ([0, 1], [2, 3], [4], [5, 0]):
        energy(bucket.batch(rows))
    assert len(traces) == 1


def test_invalid_arguments_raise(structure):
    with pytest.raises(ValueError, match="no structures"):
        bb.pack([], cutoff=4.0, graphs=2)
    both = [structure(), structure(periodic=False)]
    with pytest.raises(ValueError, match="cannot share a batch"):
        bb.pack(both, cutoff=4.0, graphs=2)
    (bucket,) = bb.pack([structure(1), structure(2)], cutoff=4.0, graphs=1)
    with pytest.raises(ValueError, match="do not fit"):
        bucket.batch([0, 1])


def test_a_batch_made_by_hand_is_that_of_a_bucket(structure):
    parts = [structure(1, atoms=5), structure(2, atoms=8)]
    (bucket,) = bb.pack(parts, cutoff=4.0, graphs=3, triplets=True)
    pairs = [bb.neighbors(s.positions, s.cell, 4.0) for s in parts]
    batch = bb.make_batch(parts, pairs, bucket.sizes, triplets=True)
    for actual, expected in zip(
        jax.tree.leaves(batch), jax.tree.leaves(bucket.batch([0, 1])), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"graphs": 1}, "2 structures do not fit a batch of 1"),
        ({"slots": 4}, "5 atoms .* do not fit 4 slots"),
        ({"edges": 1}, "do not fit 5 slots and 1 edges"),
        ({"triplets": 1}, "triplets do not fit a batch of 1"),
    ],
)
def test_batches_that_do_not_fit_raise(sizes, message, structure):
    parts = [structure(1, atoms=5), structure(2, atoms=5)]
    pairs = [bb.neighbors(s.positions, s.cell, 4.0) for s in parts]
    large = bb.PaddedSizes(2, 5, 4096, 65536)
    with pytest.raises(ValueError, match=message):
        bb.make_batch(parts, pairs, large._replace(**sizes), triplets=True)
    both = [structure(), structure(periodic=False)]
    with pytest.raises(ValueError, match="cannot share a batch"):
        bb.make_batch(both, pairs, large._replace(slots=9))
