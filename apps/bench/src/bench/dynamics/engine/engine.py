"""Molecular dynamics of several replicas: compiled blocks and host-side updates."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import units
from backbones import neighbors, read_arrays, read_header, write_arrays

from bench.dynamics.engine.block import BlockResult, Snapshot, compile_block
from bench.dynamics.engine.capacity import PairCapacity, initial_capacity
from bench.dynamics.engine.ensembles import AtomicState, Conditions, Ensemble
from bench.dynamics.engine.interaction import Interaction
from bench.dynamics.engine.pairs import ReplicaLists
from bench.dynamics.engine.plans import StructurePlan, make_plan

Programs = dict[tuple[Ensemble, int, PairCapacity], Any]
"""Compiled blocks by integrator, number of replicas and capacity."""


class Engine:
    """Molecular dynamics of some replicas of one structure.

    No pair within the cutoff is ever missed: a block stops before its pair list becomes
    invalid, and a block that exceeds the capacity is repeated from its beginning with a
    larger one. `compilations` counts the compiled programs: one, unless the density or
    the cell changes a lot.

    Args:
        interaction: the potential energy.
        ensemble: the integrator.
        cell: rows, Å; None means open boundaries.
        timestep: time step, fs.
        skin: distance beyond the cutoff up to which pairs are listed, Å.
        programs: compiled programs, to share with other engines of the same interaction
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
            raise ValueError(f"`timestep` must be positive, in fs; got {timestep}.")
        if not skin > 0:
            raise ValueError(f"`skin` must be positive, in Å; got {skin}.")
        if ensemble.moves_box and cell is None:
            raise ValueError("Constant pressure needs a cell; `cell` is None.")
        self.interaction, self.ensemble, self.skin = interaction, ensemble, skin
        self.compilations = 0
        self.too_fast = np.zeros(0, bool)
        self._cell = cell
        self._dt = timestep * units.fs
        self._box_of = jax.jit(
            jax.vmap(lambda state: self.ensemble.box(state, self._box))
        )
        self._programs: Programs = {} if programs is None else programs

    def start(self, atoms: AtomicState, conditions: Conditions) -> None:
        """Sets the initial state, at step 0.

        Args:
            atoms: positions, momenta, forces and masses with a leading axis of
                replicas, in the precision of the simulation.
            conditions: temperature and pressure.
        """
        self._dtype = atoms.position.dtype
        self._box = None if self._cell is None else jnp.asarray(self._cell, self._dtype)
        initial_state = lambda replica: jax.tree.map(
            jnp.asarray,
            self.ensemble.start(replica, self._box, self._cast(conditions), self._dt),
        )
        states = [
            initial_state(AtomicState(*(leaf[i] for leaf in atoms)))
            for i in range(len(atoms.position))
        ]
        self.states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        if hasattr(self.states, "rng"):
            keys = [jax.random.fold_in(s.rng, i) for i, s in enumerate(states)]
            self.states = self.states.set(rng=jnp.stack(keys))
        self._initialize(0)

    def advance(
        self, steps: int, conditions: Conditions, active: np.ndarray
    ) -> Snapshot:
        """Makes some steps.

        Args:
            steps: number of steps.
            conditions: temperature and pressure during these steps.
            active: which replicas move, `(replicas,)`.

        Returns:
            Snapshots of all replicas, as numpy arrays. `too_fast` marks replicas whose
            atoms moved beyond the skin within one step; they keep their last state.
        """
        remaining = np.where(active & ~self.too_fast, steps, 0)
        block_length, retried = steps, set[int]()
        while True:
            start, start_boxes = self.states, self._boxes()
            result = self._run(np.minimum(remaining, block_length), conditions)
            if not np.all(np.asarray(result.complete)[remaining > 0]):
                self._capacity = self._capacity.enlarged(
                    int(np.max(np.asarray(result.max_pairs))),
                    int(np.max(np.asarray(result.max_triplets))),
                )
                continue
            self.states = result.state
            if not self._is_covered() and self._renew_plan(start, start_boxes):
                continue
            shorter = self._retry(start, start_boxes, block_length, retried)
            if shorter:
                block_length = shorter
                continue
            retried.clear()
            done = np.asarray(result.steps_done)
            self.too_fast |= (remaining > 0) & (done == 0) & self._lists.is_new
            self._lists.is_new &= done == 0
            remaining = np.where(self.too_fast, 0, remaining - done)
            broken = ~np.isfinite(np.asarray(self.states.position)).all((1, 2))
            if broken.any():
                # Non-finite states, which the snapshot contains, cannot be saved.
                remaining[broken] = 0
                self.states = _select(broken, start, self.states)
            if not remaining.any():
                self.steps += steps
                return jax.tree.map(np.asarray, result.snapshot)
            for i in np.flatnonzero(remaining > 0).tolist():
                self._rebuild_list(i)

    def save(self, path: Path, header: dict[str, Any]) -> None:
        """Writes a checkpoint from which `restore` continues bit for bit.

        Args:
            path: path of the checkpoint.
            header: metadata of the stage, as JSON values, which `restore` returns.
        """
        planned = self._planned
        arrays = {"states": self.states, "too_fast": jnp.asarray(self.too_fast)}
        arrays["planned"] = jax.tree.map(jnp.asarray, (planned.positions, planned.cell))
        engine = {"steps": self.steps, "capacity": list(self._capacity)}
        write_arrays(path, arrays, {"engine": engine, "stage_metadata": header})

    def restore(self, path: Path) -> dict[str, Any]:
        """Loads a checkpoint of the same simulation; call `start` first.

        Returns:
            The header that was passed to `save`.

        Raises:
            ValueError: the file is damaged or belongs to another simulation.
        """
        header = read_header(path)
        planned = self._planned
        like = {"states": self.states, "too_fast": jnp.asarray(self.too_fast)}
        like["planned"] = jax.tree.map(jnp.asarray, (planned.positions, planned.cell))
        stored = read_arrays(path, like)
        self.states = stored["states"]
        self.too_fast = np.array(stored["too_fast"])
        positions, cell = jax.tree.map(np.asarray, stored["planned"])
        engine = header["engine"]
        self._initialize(engine["steps"], PairCapacity(*engine["capacity"]))
        self._planned = self._make_plan(positions, cell, growth=1.0)
        return header["stage_metadata"]

    @property
    def replicas(self) -> int:
        """Number of replicas."""
        return len(self.states.position)

    def _cast(self, conditions: Conditions) -> Conditions:
        return Conditions(*(jnp.asarray(x, self._dtype) for x in conditions))

    def _initialize(self, steps: int, capacity: PairCapacity | None = None) -> None:
        """Makes plan, capacity and pair lists for the current states."""
        self.steps = steps
        if len(self.too_fast) != self.replicas:
            self.too_fast = np.zeros(self.replicas, bool)
        positions, boxes = np.asarray(self.states.position), self._boxes()
        self._planned = self._make_plan(positions[0], boxes[0])
        self._capacity = capacity or self._initial_capacity(positions, boxes)
        reach = self.interaction.cutoff + self.skin
        self._lists = ReplicaLists(self.replicas, reach, self._capacity.listed)
        for i in range(self.replicas):
            self._rebuild_list(i)

    def _initial_capacity(self, positions: np.ndarray, boxes: list) -> PairCapacity:
        receivers = [
            neighbors(*structure, self.interaction.cutoff)[1]
            for structure in zip(positions, boxes, strict=True)
        ]
        compiled = [
            capacity
            for ensemble, replicas, capacity in self._programs
            if ensemble == self.ensemble and replicas == self.replicas
        ]
        return initial_capacity(receivers, self.interaction.needs_triplets, compiled)

    def _boxes(self) -> list[np.ndarray | None]:
        """The cell of each replica."""
        if self._box is None:
            return [None] * self.replicas
        if not self.ensemble.moves_box:
            return [np.asarray(self._box)] * self.replicas
        return list(np.asarray(self._box_of(self.states)))

    def _rebuild_list(self, i: int) -> None:
        self._lists.rebuild(i, np.asarray(self.states.position), self._boxes())
        self._capacity = self._capacity._replace(listed=self._lists.listed)

    def _run(self, steps: np.ndarray, conditions: Conditions) -> BlockResult:
        key = self.ensemble, self.replicas, self._capacity
        if key not in self._programs:
            self.compilations += 1
            self._programs[key] = compile_block(
                self.interaction,
                self.ensemble,
                self._capacity,
                skin=self.skin,
                replicas=self.replicas,
            )
        return self._programs[key](
            self.interaction.weights,
            self.states,
            self._lists.stacked(),
            self._planned.plan,
            self._box,
            jnp.asarray(steps, jnp.int32),
            self._cast(conditions),
            jnp.asarray(self._dt, self._dtype),
        )

    def _make_plan(self, positions, cell, **growth: float) -> StructurePlan:
        moves = self.ensemble.moves_box
        return make_plan(self.interaction, positions, cell, moves_box=moves, **growth)

    def _is_covered(self) -> bool:
        """Whether the plan covers the current states; non-finite ones are ignored."""
        if self.interaction.plan_for is None:
            return True
        structures = zip(np.asarray(self.states.position), self._boxes(), strict=True)
        return all(
            self._planned.covers(positions, box)
            for positions, box in structures
            if np.isfinite(positions).all()
        )

    def _retry(
        self, start: Any, boxes: list, block_length: int, retried: set[int]
    ) -> int:
        """Returns the length of the block to repeat from `start`; 0 for no repetition.

        Lattice sums give NaN beyond the strain that their plan covers. A replica that
        became non-finite therefore first gets a plan made for `start`, then shorter
        blocks.
        """
        finite = np.isfinite(np.asarray(self.states.position)).all((1, 2))
        finite &= np.isfinite(np.asarray(self.states.force)).all((1, 2))
        if finite.all() or not jax.tree.leaves(self._planned.plan):
            return 0
        first = int(np.argmin(finite))
        if first in retried and block_length == 1:
            return 0
        shorter = -(-block_length // 2) if first in retried else block_length
        retried.add(first)
        self.states = start
        positions = np.asarray(start.position[first])
        self._planned = self._make_plan(positions, boxes[first])
        return shorter

    def _renew_plan(self, start: Any, boxes: list) -> bool:
        """Makes a plan for the end of the block; returns whether to repeat the block.

        If the new plan also covers the beginning of the block, its steps are repeated
        with the new plan. If the cell changed by more than a plan covers, the steps are
        kept, so that the change of volume is reported.
        """
        ends = np.asarray(self.states.position)
        finite = int(np.argmax(np.isfinite(ends).all((1, 2))))
        self._planned = self._make_plan(ends[finite], self._boxes()[finite])
        starts = zip(np.asarray(start.position), boxes, strict=True)
        if not self._is_covered() or not all(self._planned.covers(*s) for s in starts):
            return False
        self.states = start
        return True


def _select(mask: np.ndarray, states: Any, others: Any) -> Any:
    """Returns `states` where the mask of replicas is true, else `others`."""
    choose = lambda a, b: jnp.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)
    return jax.tree.map(choose, states, others)
