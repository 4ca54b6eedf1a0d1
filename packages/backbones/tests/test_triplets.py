"""Triplets of neighbor lists, batches and traced edges."""

import backbones as bb
import jax.numpy as jnp
import numpy as np
import pytest
from backbones._triplets import count_triplets, find_triplets, triplets_within


@pytest.mark.parametrize("box", [3.0, 8.0])
@pytest.mark.parametrize("periodic", [True, False])
def test_triplets_agree_with_a_loop(box, periodic, structure):
    s = structure(1, atoms=4, box=box, periodic=periodic)
    pairs = bb.neighbors(s.positions, s.cell, 4.0)
    expected = {
        (f, e)
        for e in range(len(pairs))
        for f in range(len(pairs))
        if pairs.receivers[f] == pairs.senders[e]
        and not (
            pairs.senders[f] == pairs.receivers[e]
            and np.all(pairs.shifts[f] + pairs.shifts[e] == 0)
        )
    }
    incoming, outgoing = find_triplets(pairs)
    assert set(zip(incoming, outgoing, strict=True)) == expected
    assert len(incoming) == len(expected) == count_triplets(pairs)
    assert np.all(np.diff(outgoing) >= 0)


def test_one_pair_or_one_atom_has_no_triplets():
    for positions in ([[0, 0, 0], [0, 0, 1.0]], [[0, 0, 0.0]]):
        pairs = bb.neighbors(np.array(positions), None, 4.0)
        assert count_triplets(pairs) == 0
        assert find_triplets(pairs)[0].shape == (0,)


def test_triplets_of_batches_have_the_indices_of_their_edges(structure):
    parts = [structure(1, atoms=5), structure(2, atoms=6)]
    (bucket,) = bb.pack(parts, cutoff=4.0, graphs=2, triplets=True)
    batch = bucket.batch([0, 1])
    t = batch.triplets
    real = np.asarray(t.mask)
    assert real.sum() == sum(count_triplets(p) for p in bucket.pairs)
    adjacent = np.asarray(batch.receivers[t.incoming] == batch.senders[t.outgoing])
    assert adjacent[real].all()
    assert np.all(np.diff(t.outgoing) >= 0)
    assert np.asarray(batch.edge_mask)[np.asarray(t.incoming)[real]].all()


def test_too_many_triplets_are_detected(structure):
    s = structure(1)
    pairs = bb.neighbors(s.positions, s.cell, 4.0)
    real = jnp.ones(len(pairs), bool)
    edges = tuple(map(jnp.asarray, pairs))
    needed = int(np.sum(np.bincount(pairs.receivers) ** 2))
    find = lambda size: triplets_within(edges, real, 7, size)
    assert find(needed)[1] and not find(needed - 1)[1]
    assert int(find(needed)[0].mask.sum()) == needed - len(pairs)
