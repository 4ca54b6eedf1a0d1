"""Many time steps in one compiled program, stopped before a pair could be missed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from bench.dynamics.engine.ensembles import Ensemble, Targets
from bench.dynamics.engine.interaction import Interaction
from bench.dynamics.engine.pairs import Room, fits, narrowed, slack

# Part of the skin kept for the next step, so that few steps are made twice.
_SPARE = 0.1


class Sample(NamedTuple):
    """What is looked at after a block."""

    potential: Float[Array, ""]
    """eV, without reference energies."""
    kinetic: Float[Array, ""]
    """eV."""
    conserved: Float[Array, ""]
    """eV; no meaning with friction and noise."""
    pressure: Float[Array, ""]
    """eV/Å^3; NaN where the cell does not move."""
    positions: Float[Array, "atoms 3"]
    """Å."""
    momenta: Float[Array, "atoms 3"]
    """sqrt(eV amu)."""
    box: Float[Array, "3 3"] | None
    """Rows, Å."""


class Result(NamedTuple):
    """Where a block came to."""

    state: Any
    done: Int[Array, ""]
    """Steps made."""
    fits: Bool[Array, ""]
    """False: some pairs had no room, and the block must be made again."""
    needed: Int[Array, ""]
    """Most pairs within the cutoff in any step."""
    triplets_needed: Int[Array, ""]
    sample: Sample


def block_program(
    interaction: Interaction,
    ensemble: Ensemble,
    room: Room,
    *,
    skin: float,
    replicas: int,
) -> Callable[..., Result]:
    """A compiled function that makes at most a number of steps for each replica.

    It is called as `f(weights, states, pairs, plan, box, steps, targets, dt)`; states,
    pairs and steps have a leading axis of replicas. A replica stops early where its
    list may miss a pair: it needs a new one.

    Args:
        interaction: the energy.
        ensemble: the integrator.
        room: for pairs.
        skin: Å.
        replicas: how many move at once.
    """

    def block(weights, state, pairs, plan, box, steps, targets, dt):
        narrow = lambda positions, cell: narrowed(
            pairs, positions, cell, interaction.cutoff, room
        )

        def energy(positions, cell):
            fixed = jax.lax.stop_gradient((positions, cell))
            near = narrow(*fixed)
            index = near.senders, near.receivers, near.shifts
            return interaction.energy(
                weights, positions, *index, cell, plan, room.triplets
            )

        spare = lambda new: slack(
            pairs, new.position, ensemble.box(new, box), interaction.cutoff, skin
        )

        def advance(carry):
            old, done, _, most = carry
            new = ensemble.step(energy, old, box, targets, dt)
            near = narrow(new.position, ensemble.box(new, box))
            enough, left = fits(near, room), spare(new)
            broken = ~jnp.isfinite(new.position).all() | ~jnp.isfinite(new.force).all()
            # A broken state is kept, for it is what the host asks about.
            taken = enough & ((left > 0) | broken)
            kept = jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, old)
            found = jnp.stack([near.needed, near.triplets_needed]).astype(jnp.int32)
            going = taken & (left > _SPARE * skin)
            return kept, done + taken, (going, enough), jnp.maximum(most, found)

        state, done, (_, enough), most = jax.lax.while_loop(
            lambda carry: carry[2][0] & (carry[1] < steps),
            advance,
            (
                state,
                jnp.zeros((), jnp.int32),
                (jnp.array(True), jnp.array(True)),
                jnp.zeros(2, jnp.int32),
            ),
        )
        sample = _sample(energy, ensemble, state, box, targets)
        return Result(state, done, enough, most[0], most[1], sample)

    return eqx.filter_jit(_over_replicas(block, replicas))


def _over_replicas(block, replicas: int):
    """One replica needs no mapping, which spares the compiler a batch axis."""
    if replicas > 1:
        return jax.vmap(block, (None, 0, 0, None, None, 0, None, None))

    def alone(weights, state, pairs, plan, box, steps, targets, dt):
        first = lambda tree: jax.tree.map(lambda x: x[0], tree)
        result = block(
            weights, first(state), first(pairs), plan, box, steps[0], targets, dt
        )
        return jax.tree.map(lambda x: x[None], result)

    return alone


def _sample(energy, ensemble: Ensemble, state, box, targets: Targets) -> Sample:
    cell = ensemble.box(state, box)
    kinetic = 0.5 * jnp.sum(state.momentum**2 / state.mass)
    pressure = jnp.full((), jnp.nan, kinetic.dtype)
    if ensemble.moves_box:
        strained = lambda size: energy(state.position * size, cell * size)
        potential, slope = jax.value_and_grad(strained)(jnp.ones((), kinetic.dtype))
        volume = jnp.abs(jnp.linalg.det(cell))
        pressure = (2 * kinetic - slope) / (3 * volume)
    else:
        potential = energy(state.position, cell)
    conserved = potential + kinetic + ensemble.extended(state, cell, targets)
    return Sample(
        potential,
        kinetic,
        conserved,
        pressure,
        state.position,
        state.momentum,
        cell,
    )
