"""Blocks of time steps in one compiled program, with checks of the neighbor list."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from bench.dynamics.engine.capacity import PairCapacity
from bench.dynamics.engine.ensembles import Conditions, Ensemble
from bench.dynamics.engine.interaction import Interaction
from bench.dynamics.engine.pairs import is_complete, prune, slack

# A block stops when the slack is below this fraction of the skin: the next step would
# probably exceed the skin and be discarded.
_RESERVE = 0.1


class Snapshot(NamedTuple):
    """Energies, positions and momenta at the end of a block."""

    potential: Float[Array, ""]
    """eV, without atomic energies."""
    kinetic: Float[Array, ""]
    """eV."""
    conserved: Float[Array, ""]
    """Energy including thermostat and barostat, eV; not conserved by Langevin."""
    pressure: Float[Array, ""]
    """eV/Å^3; NaN for a fixed cell."""
    positions: Float[Array, "atoms 3"]
    """Å."""
    momenta: Float[Array, "atoms 3"]
    """sqrt(eV amu)."""
    box: Float[Array, "3 3"] | None
    """Rows, Å."""


class BlockResult(NamedTuple):
    """The state after a block and the numbers of steps and pairs."""

    state: Any
    """State of the integrator."""
    steps_done: Int[Array, ""]
    complete: Bool[Array, ""]
    """False if pairs exceeded the capacity: the block must be repeated with more."""
    max_pairs: Int[Array, ""]
    """Largest number of pairs within the cutoff in any step."""
    max_triplets: Int[Array, ""]
    """Largest number of triplets in any step."""
    snapshot: Snapshot


def compile_block(
    interaction: Interaction,
    ensemble: Ensemble,
    capacity: PairCapacity,
    *,
    skin: float,
    replicas: int,
) -> Callable[..., BlockResult]:
    """Returns a compiled function that advances each replica by a number of steps.

    It is called as `f(weights, states, pairs, plan, box, steps, conditions, dt)`;
    states, pairs and steps have a leading axis of replicas. A replica stops early
    before its pair list becomes invalid and then needs a new list.

    Args:
        interaction: the potential energy.
        ensemble: the integrator.
        capacity: sizes of the pair arrays.
        skin: distance beyond the cutoff up to which pairs are listed, Å.
        replicas: number of replicas.
    """

    def block(weights, state, pairs, plan, box, steps, conditions, dt):
        pruned_at = lambda positions, cell: prune(
            pairs, positions, cell, interaction.cutoff, capacity
        )

        def energy(positions, cell):
            constant = jax.lax.stop_gradient((positions, cell))
            pruned = pruned_at(*constant)
            index = pruned.senders, pruned.receivers, pruned.shifts
            return interaction.energy(
                weights, positions, *index, cell, plan, capacity.triplets
            )

        slack_of = lambda new: slack(
            pairs, new.position, ensemble.box(new, box), interaction.cutoff, skin
        )

        def advance(carry):
            old, done, _, largest = carry
            new = ensemble.step(energy, old, box, conditions, dt)
            pruned = pruned_at(new.position, ensemble.box(new, box))
            complete, remaining = is_complete(pruned, capacity), slack_of(new)
            broken = ~jnp.isfinite(new.position).all() | ~jnp.isfinite(new.force).all()
            # Non-finite states are accepted: the host must see them to report them.
            accepted = complete & ((remaining > 0) | broken)
            state = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)
            counts = jnp.stack([pruned.pair_count, pruned.triplet_count])
            largest = jnp.maximum(largest, counts.astype(jnp.int32))
            running = accepted & (remaining > _RESERVE * skin)
            return state, done + accepted, (running, complete), largest

        state, done, (_, complete), largest = jax.lax.while_loop(
            lambda carry: carry[2][0] & (carry[1] < steps),
            advance,
            (
                state,
                jnp.zeros((), jnp.int32),
                (jnp.array(True), jnp.array(True)),
                jnp.zeros(2, jnp.int32),
            ),
        )
        snapshot = _snapshot(energy, ensemble, state, box, conditions)
        return BlockResult(state, done, complete, largest[0], largest[1], snapshot)

    return eqx.filter_jit(_over_replicas(block, replicas))


def _over_replicas(block, replicas: int):
    """A single replica is not vmapped: this saves the batch axis in the program."""
    if replicas > 1:
        return jax.vmap(block, (None, 0, 0, None, None, 0, None, None))

    def single(weights, state, pairs, plan, box, steps, conditions, dt):
        first = lambda tree: jax.tree.map(lambda x: x[0], tree)
        result = block(
            weights, first(state), first(pairs), plan, box, steps[0], conditions, dt
        )
        return jax.tree.map(lambda x: x[None], result)

    return single


def _snapshot(
    energy, ensemble: Ensemble, state, box, conditions: Conditions
) -> Snapshot:
    cell = ensemble.box(state, box)
    kinetic = 0.5 * jnp.sum(state.momentum**2 / state.mass)
    pressure = jnp.full((), jnp.nan, kinetic.dtype)
    if ensemble.moves_box:
        scaled = lambda factor: energy(state.position * factor, cell * factor)
        potential, slope = jax.value_and_grad(scaled)(jnp.ones((), kinetic.dtype))
        volume = jnp.abs(jnp.linalg.det(cell))
        pressure = (2 * kinetic - slope) / (3 * volume)
    else:
        potential = energy(state.position, cell)
    extended = ensemble.extended_energy(state, cell, conditions)
    return Snapshot(
        potential,
        kinetic,
        potential + kinetic + extended,
        pressure,
        state.position,
        state.momentum,
        cell,
    )
