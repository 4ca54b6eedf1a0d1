"""Moves atoms: compiled blocks, and between them what only the host can do."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import units
from backbones import read_arrays, read_header, write_arrays

from bench.dynamics.engine.block import Sample, block_program
from bench.dynamics.engine.ensembles import Ensemble, Moving, Targets
from bench.dynamics.engine.interaction import Interaction
from bench.dynamics.engine.pairs import PairList, Room, list_pairs, padded
from bench.dynamics.engine.plans import Planned, planned

Programs = dict[tuple[Ensemble, int, Room], Any]
"""Compiled blocks by integrator, number of replicas and room."""


class Engine:
    """A simulation of some replicas of one structure.

    Each call of `advance` is exact whatever the lists: a block stops before a pair
    could be missed, and one that had too little room is made again from its beginning.
    `compilations` counts programs: one, unless density or cell change a lot.

    Args:
        interaction: the energy.
        ensemble: the integrator.
        cell: rows, Å; None means open boundaries.
        timestep: fs.
        skin: pairs are listed so far beyond the cutoff, Å.
        programs: compiled ones, to share with other engines of the same interaction
            and skin.
    """

    def __init__(
        self,
        interaction: Interaction,
        ensemble: Ensemble,
        cell: np.ndarray | None,
        *,
        timestep: float,
        skin: float = 1.0,
        programs: Programs | None = None,
    ):
        if not timestep > 0:
            raise ValueError(f"`timestep` is positive, in fs; got {timestep}.")
        if not skin > 0:
            raise ValueError(f"`skin` is positive, in Å; got {skin}.")
        if ensemble.moves_box and cell is None:
            raise ValueError("Constant pressure needs a cell, and this has none.")
        self.interaction, self.ensemble, self.skin = interaction, ensemble, skin
        self.compilations = 0
        self.stuck = np.zeros(0, bool)
        self._cell = cell
        self._dt = timestep * units.fs
        self._box_of = jax.jit(
            jax.vmap(lambda state: self.ensemble.box(state, self._box))
        )
        self._programs: Programs = {} if programs is None else programs

    def start(self, moving: Moving, targets: Targets) -> None:
        """Begins at step 0.

        Args:
            moving: positions, momenta, forces and masses of all replicas, each with a
                leading axis; in the precision to compute in.
            targets: temperature and pressure.
        """
        self._dtype = moving.position.dtype
        self._box = None if self._cell is None else jnp.asarray(self._cell, self._dtype)
        begin = lambda one: jax.tree.map(
            jnp.asarray,
            self.ensemble.start(one, self._box, self._cast(targets), self._dt),
        )
        count = len(moving.position)
        states = [
            jax.tree.map(jnp.asarray, begin(Moving(*(leaf[i] for leaf in moving))))
            for i in range(count)
        ]
        self.states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        if hasattr(self.states, "rng"):
            keys = [jax.random.fold_in(s.rng, i) for i, s in enumerate(states)]
            self.states = self.states.set(rng=jnp.stack(keys))
        self._begin(0)

    def advance(self, steps: int, targets: Targets, going: np.ndarray) -> Sample:
        """Makes some steps and says what came of them.

        Args:
            steps: how many.
            targets: temperature and pressure meanwhile.
            going: which replicas move, `(replicas,)`.

        Returns:
            Of each replica, in numpy. `stuck` marks those whose atoms left their lists
            within one step; they stay where they were.
        """
        left = np.where(going & ~self.stuck, steps, 0)
        stride, tried = steps, set[int]()
        while True:
            start, boxes = self.states, self._boxes()
            result = self._run(np.minimum(left, stride), targets)
            if not np.all(np.asarray(result.fits)[left > 0]):
                self._grow(result)
                continue
            self.states = result.state
            if self._uncovered() and self._replan(start, boxes):
                continue
            shorter = self._beyond_plan(start, boxes, stride, tried)
            if shorter:
                stride = shorter
                continue
            tried.clear()
            done = np.asarray(result.done)
            self.stuck |= (left > 0) & (done == 0) & self._fresh
            self._fresh &= done == 0
            left = np.where(self.stuck, 0, left - done)
            broken = ~np.isfinite(np.asarray(self.states.position)).all((1, 2))
            if broken.any():
                # The sample tells; nothing could be listed or saved of such a state.
                left[broken] = 0
                self.states = _chosen(broken, start, self.states)
            if not left.any():
                self.steps += steps
                return jax.tree.map(np.asarray, result.sample)
            for i in np.flatnonzero(left > 0).tolist():
                self._list(i)

    def save(self, path: Path, header: dict[str, Any]) -> None:
        """Writes all that a later `restore` needs to go on to the bit.

        Args:
            path: of the checkpoint.
            header: to be returned by `restore`.
        """
        here = self._planned
        arrays = {"states": self.states, "stuck": jnp.asarray(self.stuck)}
        arrays["planned"] = jax.tree.map(jnp.asarray, (here.positions, here.cell))
        own = {"steps": self.steps, "room": list(self._room)}
        write_arrays(path, arrays, {"engine": own, "caller": header})

    def restore(self, path: Path) -> dict[str, Any]:
        """Goes back to a checkpoint of the same simulation; `start` came before.

        Returns:
            The header given to `save`.

        Raises:
            ValueError: the file is damaged or of another simulation.
        """
        header = read_header(path)
        here = self._planned
        like = {"states": self.states, "stuck": jnp.asarray(self.stuck)}
        like["planned"] = jax.tree.map(jnp.asarray, (here.positions, here.cell))
        stored = read_arrays(path, like)
        self.states = stored["states"]
        self.stuck = np.array(stored["stuck"])
        positions, cell = jax.tree.map(np.asarray, stored["planned"])
        self._begin(header["engine"]["steps"], Room(*header["engine"]["room"]))
        self._planned = self._plan(positions, cell, stretch=1.0)
        return header["caller"]

    @property
    def replicas(self) -> int:
        """How many move at once."""
        return len(self.states.position)

    def _cast(self, targets: Targets) -> Targets:
        return Targets(*(jnp.asarray(x, self._dtype) for x in targets))

    def _begin(self, steps: int, room: Room | None = None) -> None:
        """Lists, plan and room for the states as they are."""
        self.steps = steps
        if len(self.stuck) != self.replicas:
            self.stuck = np.zeros(self.replicas, bool)
        self._fresh = np.zeros(self.replicas, bool)
        positions, boxes = np.asarray(self.states.position), self._boxes()
        self._planned = self._plan(positions[0], boxes[0])
        self._room = room or self._first_room(positions, boxes)
        self._lists: list[PairList | None] = [None] * self.replicas
        self._stacked: PairList | None = None
        for i in range(self.replicas):
            self._list(i)

    def _first_room(self, positions: np.ndarray, boxes: list) -> Room:
        reach = self.interaction.cutoff
        found = [
            list_pairs(*pair, reach) for pair in zip(positions, boxes, strict=True)
        ]
        near = max(len(senders) for senders, *_ in found)
        squares = max(int(np.sum(np.bincount(f[1], minlength=1) ** 2)) for f in found)
        for ensemble, replicas, room in self._programs:
            same = ensemble == self.ensemble and replicas == self.replicas
            if same and near <= room.near and squares <= (room.triplets or squares):
                return room
        triplets = _roomy(squares) if self.interaction.needs_triplets else None
        return Room(0, _roomy(near), triplets)

    def _boxes(self) -> list[np.ndarray | None]:
        """The cell of each replica."""
        if self._box is None:
            return [None] * self.replicas
        if not self.ensemble.moves_box:
            return [np.asarray(self._box)] * self.replicas
        return list(np.asarray(self._box_of(self.states)))

    def _list(self, i: int) -> None:
        """A new list for one replica."""
        positions, box = np.asarray(self.states.position[i]), self._boxes()[i]
        found = list_pairs(positions, box, self.interaction.cutoff + self.skin)
        if len(found[0]) > self._room.listed:
            self._room = self._room._replace(listed=_roomy(len(found[0]), 1.2))
            for j in range(self.replicas):
                if j != i and self._lists[j] is not None:
                    self._list(j)
        self._lists[i] = padded(found, positions, box, self._room.listed)
        self._fresh[i] = True
        self._stacked = None

    def _run(self, left: np.ndarray, targets: Targets):
        key = self.ensemble, self.replicas, self._room
        if key not in self._programs:
            self.compilations += 1
            self._programs[key] = block_program(
                self.interaction,
                self.ensemble,
                self._room,
                skin=self.skin,
                replicas=self.replicas,
            )
        if self._stacked is None:
            self._stacked = jax.tree.map(
                lambda *lists: jnp.asarray(np.stack(lists)), *self._lists
            )
        return self._programs[key](
            self.interaction.weights,
            self.states,
            self._stacked,
            self._planned.plan,
            self._box,
            jnp.asarray(left, jnp.int32),
            self._cast(targets),
            jnp.asarray(self._dt, self._dtype),
        )

    def _grow(self, result) -> None:
        """Room for what was found, and some more."""
        near = max(self._room.near, _roomy(int(np.max(np.asarray(result.needed)))))
        triplets = self._room.triplets
        if triplets is not None:
            most = int(np.max(np.asarray(result.triplets_needed)))
            triplets = max(triplets, _roomy(most))
        self._room = self._room._replace(near=near, triplets=triplets)

    def _plan(self, positions, cell, **stretch: float) -> Planned:
        moves = self.ensemble.moves_box
        return planned(self.interaction, positions, cell, moves=moves, **stretch)

    def _uncovered(self) -> bool:
        if self.interaction.plan_for is None:
            return False
        places = zip(np.asarray(self.states.position), self._boxes(), strict=True)
        return not all(
            self._planned.covers(*place)
            for place in places
            if np.isfinite(place[0]).all()
        )

    def _beyond_plan(self, start, boxes, stride: int, tried: set[int]) -> int:
        """How many steps to make from the start again, 0 where that helps nothing.

        Lattice sums give NaN beyond what their plan covers. So a replica that broke
        gets a plan for where it started, then shorter strides.
        """
        moved = self.states
        sound = np.isfinite(np.asarray(moved.position)).all((1, 2))
        sound &= np.isfinite(np.asarray(moved.force)).all((1, 2))
        if sound.all() or not jax.tree.leaves(self._planned.plan):
            return 0
        first = int(np.argmin(sound))
        if first in tried and stride == 1:
            return 0
        shorter = -(-stride // 2) if first in tried else stride
        tried.add(first)
        self.states = start
        place = np.asarray(start.position[first])
        self._planned = self._plan(place, boxes[first])
        return shorter

    def _replan(self, start, boxes) -> bool:
        """A plan for where the block ended; whether the block must be made again.

        One that also serves the block's beginning replaces the steps that were made
        with the old plan. Where the cell changed by more than a plan covers, the steps
        stay: the volume is the news.
        """
        ends = np.asarray(self.states.position)
        whole = int(np.argmax(np.isfinite(ends).all((1, 2))))
        self._planned = self._plan(ends[whole], self._boxes()[whole])
        starts = zip(np.asarray(start.position), boxes, strict=True)
        if self._uncovered() or not all(self._planned.covers(*s) for s in starts):
            return False
        self.states = start
        return True


def _chosen(mask: np.ndarray, states: Any, others: Any) -> Any:
    """States of the marked replicas, of the others the others'."""
    pick = lambda a, b: jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)
    return jax.tree.map(pick, states, others)


def _roomy(count: int, factor: float = 1.08) -> int:
    """Somewhat more than a count, one of few sizes."""
    return -(-int(factor * count + 48) // 32) * 32
