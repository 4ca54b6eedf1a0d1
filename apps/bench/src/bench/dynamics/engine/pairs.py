"""Pairs of atoms for many steps: listed on the host, narrowed in each step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from backbones import Structure, neighbours
from jaxtyping import Array, Bool, Float, Int


class Room(NamedTuple):
    """How many pairs a compiled program has room for."""

    listed: int
    """Pairs within cutoff and skin, both directions counted."""
    near: int
    """Those within the cutoff, in any step."""
    triplets: int | None = None
    """Pairs of near pairs, for models that need them."""


class PairList(NamedTuple):
    """Pairs within cutoff and skin of some positions; padding names no atom."""

    senders: Int[Array, " listed"]
    receivers: Int[Array, " listed"]
    shifts: Int[Array, "listed 3"]
    positions: Float[Array, "atoms 3"]
    """Where the atoms were, Å."""
    box: Float[Array, "3 3"] | None
    """What the cell was, rows, Å."""


class Near(NamedTuple):
    """The listed pairs that are within the cutoff, and whether all had room."""

    senders: Int[Array, " near"]
    receivers: Int[Array, " near"]
    shifts: Int[Array, "near 3"]
    needed: Int[Array, ""]
    """Pairs found."""
    triplets_needed: Int[Array, ""]
    """Sum of squared neighbour counts: pairs of pairs found at most."""


def list_pairs(
    positions: np.ndarray, box: np.ndarray | None, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Senders, receivers and shifts of all pairs closer than `reach`, images included.

    In one order whatever the reach, so that narrowing two lists of different age gives
    the same pairs in the same places.

    Args:
        positions: `(atoms, 3)`, Å.
        box: rows, Å; None means open boundaries.
        reach: Å.
    """
    # Distances do not depend on the elements.
    structure = Structure(np.ones(len(positions), int), positions, box)
    return neighbours(structure, reach)


def padded(
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    positions: np.ndarray,
    box: np.ndarray | None,
    listed: int,
) -> PairList:
    """A list of a fixed size, in numpy.

    Args:
        found: of `list_pairs`, not more than `listed`.
        positions: they were found for, Å.
        box: rows, Å.
        listed: size.
    """
    senders, receivers, shifts = found
    index = np.full((2, listed), len(positions), np.int32)
    moves = np.zeros((listed, 3), np.int32)
    index[0, : len(senders)], index[1, : len(senders)] = senders, receivers
    moves[: len(senders)] = shifts
    return PairList(index[0], index[1], moves, positions, box)  # pyright: ignore


def narrowed(
    pairs: PairList,
    positions: Float[Array, "atoms 3"],
    box: Float[Array, "3 3"] | None,
    cutoff: float,
    room: Room,
) -> Near:
    """The pairs of a list that are within the cutoff now.

    Args:
        pairs: still valid, see `slack`.
        positions: Å.
        box: rows, Å.
        cutoff: Å.
        room: pairs beyond `room.near` are lost, which `needed` tells.
    """
    atoms = len(positions)
    vectors = positions[pairs.senders] - positions[pairs.receivers]
    if box is not None:
        vectors = vectors + _product(pairs.shifts.astype(positions.dtype), box)
    near = (jnp.sum(vectors**2, 1) < cutoff**2) & (pairs.senders < atoms)
    (kept,) = jnp.nonzero(near, size=room.near, fill_value=len(near))
    take = lambda values, fill: values.at[kept].get(mode="fill", fill_value=fill)
    degrees = jnp.bincount(jnp.where(near, pairs.receivers, atoms), length=atoms + 1)
    return Near(
        take(pairs.senders, atoms),
        take(pairs.receivers, atoms),
        take(pairs.shifts, 0),
        jnp.sum(near),
        jnp.sum(degrees[:atoms] ** 2),
    )


def fits(near: Near, room: Room) -> Bool[Array, ""]:
    """Whether no pair was lost."""
    enough = near.needed <= room.near
    if room.triplets is not None:
        enough &= near.triplets_needed <= room.triplets
    return enough


def slack(
    pairs: PairList,
    positions: Float[Array, "atoms 3"],
    box: Float[Array, "3 3"] | None,
    cutoff: float,
    skin: float,
) -> Float[Array, ""]:
    r"""By how much (Å) a pair that is not listed stays beyond the cutoff at least.

    With the strain $\epsilon = H_0^{-1} H - 1$ of the cell since the list was made and
    the motion $d_i$ of the atoms beyond that strain, a pair at least $r_c + s$ apart
    then is at least $(r_c + s)(1 - |\epsilon|) - 2 \max_i |d_i|$ apart now. A common
    translation of all atoms moves no pair.

    Args:
        pairs: the list.
        positions: Å.
        box: rows, Å.
        cutoff: $r_c$, Å.
        skin: $s$, Å.
    """
    strain = jnp.zeros((), positions.dtype)
    carried = pairs.positions
    if box is not None:
        deform = jnp.linalg.solve(pairs.box, box)
        strain = jnp.linalg.norm(deform - jnp.eye(3, dtype=positions.dtype))
        carried = _product(carried, deform)
    moved = positions - carried
    moved = moved - jnp.mean(moved, axis=0)
    farthest = jnp.sqrt(jnp.max(jnp.sum(moved**2, 1)))
    return (cutoff + skin) * (1 - strain) - 2 * farthest - cutoff


def _product(rows, matrix):
    """At full precision: this is geometry."""
    return jnp.matmul(rows, matrix, precision=jax.lax.Precision.HIGHEST)
