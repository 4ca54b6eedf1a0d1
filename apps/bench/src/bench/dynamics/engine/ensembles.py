"""The four ways atoms are moved, on jax-md's integrators.

Positions are in real space and never wrapped: a step of jax-md's barostat scales
coordinates about the origin, which is wrong for fractional ones. Time is in units of
sqrt(amu Å^2 / eV), 10.18 fs, in which eV, Å and amu are consistent.
"""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax_md import simulate
from jaxtyping import Array, Float

Energy = Callable[[Array, Array | None], Array]
"""Of positions and cell (Å, rows), in eV."""


class Targets(NamedTuple):
    """What thermostat and barostat aim at; may change between blocks."""

    kT: Float[Array, ""]
    """eV."""
    pressure: Float[Array, ""]
    """eV/Å^3."""


class _FixedCell:
    """What integrators have in common that leave the cell alone."""

    moves_box = False
    frees_centre = False

    def box(self, state, box):
        """The cell of a state."""
        del state
        return box


@dataclasses.dataclass(frozen=True)
class NVE(_FixedCell):
    """Constant energy: velocity Verlet."""

    def start(self, atoms: "Moving", box, targets: Targets, dt):
        """The state of the integrator."""
        del box, targets, dt
        return _State.NVE(*atoms)

    def step(self, energy: Energy, state, box, targets: Targets, dt):
        """One time step."""
        del targets
        _, apply = simulate.nve(_force(energy, box), _moved, dt)
        return apply(state)

    def extended(self, state, box, targets: Targets):
        """What is conserved together with potential and kinetic energy, eV."""
        del box, targets
        return jnp.zeros((), state.position.dtype)


@dataclasses.dataclass(frozen=True)
class Langevin(_FixedCell):
    """Constant temperature: friction and noise, BAOAB; nothing is conserved.

    Args:
        time: of the friction, in the engine's unit.
        seed: of the noise.

    References:
        Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34.
    """

    time: float = 10.0
    seed: int = 0
    frees_centre = True

    def start(self, atoms: "Moving", box, targets: Targets, dt):
        """The state of the integrator."""
        del box, targets, dt
        return _State.Langevin(*atoms, jax.random.PRNGKey(self.seed))

    def step(self, energy: Energy, state, box, targets: Targets, dt):
        """One time step."""
        _, apply = simulate.nvt_langevin(
            _force(energy, box), _moved, dt, _any(targets.kT), 1 / self.time
        )
        return apply(state)

    def extended(self, state, box, targets: Targets):
        """Nothing: friction and noise conserve no energy."""
        del box, targets
        return jnp.zeros((), state.position.dtype)


@dataclasses.dataclass(frozen=True)
class NoseHoover(_FixedCell):
    """Constant temperature: a chain of three Nosé-Hoover thermostats.

    Args:
        time: period of the chain, in the engine's unit.

    References:
        Martyna et al., Mol. Phys. 87, 1117 (1996).
    """

    time: float = 10.0

    def start(self, atoms: "Moving", box, targets: Targets, dt):
        """The state of the integrator."""
        del box
        # jax-md counts three more, as if the centre of mass could move.
        chain = _chain(self.time, dt).initialize(
            freedom(len(atoms.position), self), _kinetic(atoms), targets.kT
        )
        return _State.NoseHoover(*atoms, chain)

    def step(self, energy: Energy, state, box, targets: Targets, dt):
        """One time step."""
        _, apply = simulate.nvt_nose_hoover(
            _force(energy, box),
            _moved,
            dt,
            _any(targets.kT),
            tau=self.time,
            chain_length=3,
        )
        return apply(state)

    def extended(self, state, box, targets: Targets):
        """Energy of the thermostat, eV."""
        del box
        return _chain_energy(state.chain, targets.kT)


@dataclasses.dataclass(frozen=True)
class NPT:
    """Constant temperature and pressure: Nosé-Hoover chains; the cell keeps its shape.

    Args:
        time: period of the thermostat, in the engine's unit.
        barostat_time: period of the barostat.

    References:
        Tuckerman et al., J. Phys. A 39, 5629 (2006).
    """

    time: float = 10.0
    barostat_time: float = 100.0
    moves_box = True
    frees_centre = False

    def start(self, atoms: "Moving", box, targets: Targets, dt):
        """The state of the integrator."""
        count = len(atoms.position)
        zero = jnp.zeros((), atoms.position.dtype)
        inertia = 3 * (count + 1) * targets.kT * self.barostat_time**2
        return _State.NPT(
            *atoms,
            reference_box=box,
            box_position=zero,
            box_momentum=zero,
            box_mass=jnp.asarray(inertia, zero.dtype),
            barostat=_chain(self.barostat_time, dt).initialize(1, zero, targets.kT),
            thermostat=_chain(self.time, dt).initialize(
                freedom(count, self), _kinetic(atoms), targets.kT
            ),
        )

    def step(self, energy: Energy, state, box, targets: Targets, dt):
        """One time step."""
        del box

        def strained(positions, *, box, perturbation=1.0, **_):
            return energy(positions * perturbation, box * perturbation)

        _, apply = simulate.npt_nose_hoover(
            strained,
            _moved,
            dt,
            _any(_pressure(state, targets)),
            _any(targets.kT),
            barostat_kwargs={"tau": self.barostat_time},
            thermostat_kwargs={"tau": self.time},
        )
        with warnings.catch_warnings():
            # jax-md asks for one sum in double precision, and takes single.
            warnings.filterwarnings("ignore", "Explicitly requested dtype float64")
            return apply(state)

    def box(self, state, box):
        """The cell of a state."""
        del box
        return simulate.npt_box(state)

    def extended(self, state, box, targets: Targets):
        """Energy of thermostat and barostat and work against the pressure, eV."""
        volume = jnp.abs(jnp.linalg.det(box))
        moving = state.box_momentum**2 / (2 * state.box_mass)
        chains = _chain_energy(state.thermostat, targets.kT)
        chains += _chain_energy(state.barostat, targets.kT)
        return moving + chains + targets.pressure * volume


Ensemble = NVE | Langevin | NoseHoover | NPT


class Moving(NamedTuple):
    """What every integrator's state begins with, in its order."""

    position: Float[Array, "atoms 3"]
    """Å."""
    momentum: Float[Array, "atoms 3"]
    """sqrt(eV amu)."""
    force: Float[Array, "atoms 3"]
    """eV/Å."""
    mass: Float[Array, "atoms 1"]
    """amu."""


def freedom(atoms: int, ensemble: Ensemble) -> int:
    """Degrees of freedom that share the kinetic energy."""
    fixed = 0 if ensemble.frees_centre or atoms == 1 else 3
    return 3 * atoms - fixed


class _State:
    """jax-md's states, whose constructors type checkers do not see."""

    NVE: Any = simulate.NVEState
    Langevin: Any = simulate.NVTLangevinState
    NoseHoover: Any = simulate.NVTNoseHooverState
    NPT: Any = simulate.NPTNoseHooverState


def _any(traced) -> Any:
    """jax-md says float where it takes arrays too."""
    return traced


def _force(energy: Energy, box):
    return lambda positions, **_: -jax.grad(energy)(positions, box)


def _moved(positions, change, **_):
    """Without wrapping: shifts of listed pairs stay what they are."""
    return positions + change


def _kinetic(atoms: Moving):
    return 0.5 * jnp.sum(atoms.momentum**2 / atoms.mass)


def _pressure(state, targets: Targets):
    """jax-md's volume is a determinant, negative for left-handed cells."""
    return targets.pressure * jnp.sign(jnp.linalg.det(state.reference_box))


def _chain(time: float, dt):
    """Three thermostats, integrated as jax-md's own."""
    return simulate.nose_hoover_chain(
        dt, chain_length=3, chain_steps=2, sy_steps=3, tau=time
    )


def _chain_energy(chain, kT):
    """sum_k p_k^2 / 2 Q_k + kT (g xi_1 + xi_2 + ...), eV."""
    moving = jnp.sum(chain.momentum**2 / (2 * chain.mass))
    heat = chain.degrees_of_freedom * chain.position[0] + jnp.sum(chain.position[1:])
    return moving + kT * heat
