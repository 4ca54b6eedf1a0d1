"""Verlet lists with a skin: built on the host, pruned to the cutoff in each step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from backbones import neighbors
from jaxtyping import Array, Bool, Float, Int

from bench.dynamics.engine.capacity import PairCapacity, padded_size


class PairList(NamedTuple):
    """Pairs within cutoff plus skin; padding has the index `len(positions)`."""

    senders: Int[Array, " listed"]
    receivers: Int[Array, " listed"]
    shifts: Int[Array, "listed 3"]
    positions: Float[Array, "atoms 3"]
    """Positions for which the list was built, Å."""
    box: Float[Array, "3 3"] | None
    """Cell for which the list was built, rows, Å."""


class PrunedPairs(NamedTuple):
    """Listed pairs within the cutoff, in arrays of fixed size."""

    senders: Int[Array, " pairs"]
    receivers: Int[Array, " pairs"]
    shifts: Int[Array, "pairs 3"]
    pair_count: Int[Array, ""]
    """Number of pairs within the cutoff, also of those beyond the capacity."""
    triplet_count: Int[Array, ""]
    """Sum of squared neighbor counts: an upper bound of the number of triplets."""


def pad_pairs(
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
    positions: np.ndarray,
    box: np.ndarray | None,
    listed: int,
) -> PairList:
    """Returns a list padded to a fixed size, as numpy arrays.

    Args:
        pairs: result of `neighbors`, at most `listed` of them.
        positions: positions for which the pairs were listed, Å.
        box: rows, Å; None means open boundaries.
        listed: size of the arrays.
    """
    senders, receivers, shifts = pairs
    index = np.full((2, listed), len(positions), np.int32)
    padded_shifts = np.zeros((listed, 3), np.int32)
    index[0, : len(senders)], index[1, : len(senders)] = senders, receivers
    padded_shifts[: len(senders)] = shifts
    return PairList(index[0], index[1], padded_shifts, positions, box)  # pyright: ignore


class ReplicaLists:
    """The pair lists of all replicas, padded to one size.

    Args:
        replicas: number of replicas.
        reach: distance up to which pairs are listed, Å.
        listed: initial size of each list; it grows as needed.
    """

    def __init__(self, replicas: int, reach: float, listed: int):
        self.listed, self._reach = listed, reach
        self.is_new = np.zeros(replicas, bool)
        """Replicas that made no step since their list was built."""
        self._lists: list[PairList | None] = [None] * replicas
        self._stacked: PairList | None = None

    def rebuild(self, i: int, positions: np.ndarray, boxes: list) -> None:
        """Builds the list of one replica, and of all where the size grows.

        Args:
            i: index of the replica.
            positions: positions of all replicas, `(replicas, atoms, 3)`, Å.
            boxes: cell of each replica, rows, Å; None means open boundaries.
        """
        # Their order does not depend on the reach, so pruning lists of different age
        # gives the same pairs in the same order.
        pairs = neighbors(positions[i], boxes[i], self._reach)
        count = len(pairs)
        if count > self.listed:
            self.listed = padded_size(count, 1.2)
            for j, other in enumerate(self._lists):
                if j != i and other is not None:
                    self.rebuild(j, positions, boxes)
        self._lists[i] = pad_pairs(pairs, positions[i], boxes[i], self.listed)
        self.is_new[i] = True
        self._stacked = None

    def stacked(self) -> PairList:
        """Returns all lists as JAX arrays with a leading axis of replicas."""
        stacked = self._stacked
        if stacked is None:
            stack = lambda *lists: jnp.asarray(np.stack(lists))
            self._stacked = stacked = jax.tree.map(stack, *self._lists)
        return stacked


def prune(
    pairs: PairList,
    positions: Float[Array, "atoms 3"],
    box: Float[Array, "3 3"] | None,
    cutoff: float,
    capacity: PairCapacity,
) -> PrunedPairs:
    """Returns the pairs of a list that are within the cutoff.

    Args:
        pairs: a list that is valid for these positions, see `slack`.
        positions: positions of the atoms, `(atoms, 3)`, Å.
        box: rows, Å; None means open boundaries.
        cutoff: cutoff of the potential, Å.
        capacity: size of the result; pairs beyond it are dropped and counted in
            `pair_count`.
    """
    atoms = len(positions)
    vectors = positions[pairs.senders] - positions[pairs.receivers]
    if box is not None:
        vectors = vectors + _product(pairs.shifts.astype(positions.dtype), box)
    near = (jnp.sum(vectors**2, 1) < cutoff**2) & (pairs.senders < atoms)
    (rows,) = jnp.nonzero(near, size=capacity.within_cutoff, fill_value=len(near))
    take = lambda values, fill: values.at[rows].get(mode="fill", fill_value=fill)
    degrees = jnp.bincount(jnp.where(near, pairs.receivers, atoms), length=atoms + 1)
    return PrunedPairs(
        take(pairs.senders, atoms),
        take(pairs.receivers, atoms),
        take(pairs.shifts, 0),
        jnp.sum(near),
        jnp.sum(degrees[:atoms] ** 2),
    )


def is_complete(pruned: PrunedPairs, capacity: PairCapacity) -> Bool[Array, ""]:
    """Returns whether all pairs within the cutoff are within the capacity.

    Args:
        pruned: result of `prune`.
        capacity: capacity that was passed to `prune`.
    """
    complete = pruned.pair_count <= capacity.within_cutoff
    if capacity.triplets is not None:
        complete &= pruned.triplet_count <= capacity.triplets
    return complete


def slack(
    pairs: PairList,
    positions: Float[Array, "atoms 3"],
    box: Float[Array, "3 3"] | None,
    cutoff: float,
    skin: float,
) -> Float[Array, ""]:
    r"""Returns a lower bound of the distance minus the cutoff of all unlisted pairs, Å.

    The list is valid while this is positive. With the strain
    $\epsilon = H_0^{-1} H - 1$ of the cell since the list was built and the
    displacements $d_i$ of the atoms relative to that strain, a pair that was at least
    $r_c + s$ apart is now at least $(r_c + s)(1 - |\epsilon|) - 2 \max_i |d_i|$ apart.
    A common translation of all atoms is subtracted first.

    Args:
        pairs: the list.
        positions: positions of the atoms, `(atoms, 3)`, Å.
        box: rows, Å; None means open boundaries.
        cutoff: $r_c$, Å.
        skin: $s$, Å.
    """
    strain = jnp.zeros((), positions.dtype)
    strained = pairs.positions
    if box is not None:
        deform = jnp.linalg.solve(pairs.box, box)
        strain = jnp.linalg.norm(deform - jnp.eye(3, dtype=positions.dtype))
        strained = _product(strained, deform)
    displacements = positions - strained
    displacements = displacements - jnp.mean(displacements, axis=0)
    largest = jnp.sqrt(jnp.max(jnp.sum(displacements**2, 1)))
    return (cutoff + skin) * (1 - strain) - 2 * largest - cutoff


def _product(rows, matrix):
    """Full precision: accelerators would compute distances in bfloat16 or TF32."""
    return jnp.matmul(rows, matrix, precision=jax.lax.Precision.HIGHEST)
