"""Integrators of four ensembles, built on jax-md.

Positions are Cartesian and never wrapped: jax-md's barostat scales coordinates about
the origin, which is wrong for fractional coordinates. The unit of time is
sqrt(amu Å^2 / eV) = 10.18 fs, which is consistent with eV, Å and amu.

All integrators have the methods `start`, `step`, `box` and `extended_energy`. Their
argument `box` is the cell of the structure (rows, Å; None for open boundaries), `dt`
the time step in the unit above, and `energy` the potential energy.
"""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax_md import simulate
from jaxtyping import Array, Float

EnergyFunction = Callable[[Array, Array | None], Array]
"""Potential energy (eV) of positions (Å) and cell (rows, Å)."""


class Conditions(NamedTuple):
    """Temperature and pressure of the ensemble; may change between blocks."""

    kT: Float[Array, ""]
    """eV."""
    pressure: Float[Array, ""]
    """eV/Å^3."""


class _FixedCell:
    """Base of the integrators at fixed cell."""

    moves_box = False
    moves_center_of_mass = False

    def box(self, state, box):
        """Returns the cell of a state, rows, Å."""
        del state
        return box


@dataclasses.dataclass(frozen=True)
class NVE(_FixedCell):
    """Constant energy: velocity Verlet."""

    def start(self, atoms: "AtomicState", box, conditions: Conditions, dt):
        """Returns the initial state of the integrator."""
        del box, conditions, dt
        return _JaxMDState.NVE(*atoms)

    def step(self, energy: EnergyFunction, state, box, conditions: Conditions, dt):
        """Returns the state after one time step."""
        del conditions
        _, apply = simulate.nve(_force_function(energy, box), _shift, dt)
        return apply(state)

    def extended_energy(self, state, box, conditions: Conditions):
        """Returns zero: potential plus kinetic energy is conserved."""
        del box, conditions
        return jnp.zeros((), state.position.dtype)


@dataclasses.dataclass(frozen=True)
class Langevin(_FixedCell):
    """Constant temperature: Langevin dynamics with the BAOAB splitting.

    Args:
        time: inverse friction, sqrt(amu Å^2 / eV).
        seed: random seed of the noise.

    References:
        Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34.
    """

    time: float = 10.0
    seed: int = 0
    moves_center_of_mass = True

    def start(self, atoms: "AtomicState", box, conditions: Conditions, dt):
        """Returns the initial state of the integrator."""
        del box, conditions, dt
        return _JaxMDState.Langevin(*atoms, jax.random.PRNGKey(self.seed))

    def step(self, energy: EnergyFunction, state, box, conditions: Conditions, dt):
        """Returns the state after one time step."""
        _, apply = simulate.nvt_langevin(
            _force_function(energy, box),
            _shift,
            dt,
            _as_any(conditions.kT),
            1 / self.time,
        )
        return apply(state)

    def extended_energy(self, state, box, conditions: Conditions):
        """Returns zero: Langevin dynamics has no conserved energy."""
        del box, conditions
        return jnp.zeros((), state.position.dtype)


@dataclasses.dataclass(frozen=True)
class NoseHoover(_FixedCell):
    """Constant temperature: a chain of three Nosé-Hoover thermostats.

    Args:
        time: period of the chain, sqrt(amu Å^2 / eV).

    References:
        Martyna et al., Mol. Phys. 87, 1117 (1996).
    """

    time: float = 10.0

    def start(self, atoms: "AtomicState", box, conditions: Conditions, dt):
        """Returns the initial state of the integrator."""
        del box
        # jax-md would count three more, as if the center of mass could move.
        chain = _nose_hoover_chain(self.time, dt).initialize(
            degrees_of_freedom(len(atoms.position), self),
            _kinetic(atoms),
            conditions.kT,
        )
        return _JaxMDState.NoseHoover(*atoms, chain)

    def step(self, energy: EnergyFunction, state, box, conditions: Conditions, dt):
        """Returns the state after one time step."""
        _, apply = simulate.nvt_nose_hoover(
            _force_function(energy, box),
            _shift,
            dt,
            _as_any(conditions.kT),
            tau=self.time,
            chain_length=3,
        )
        return apply(state)

    def extended_energy(self, state, box, conditions: Conditions):
        """Returns the energy of the thermostat, eV."""
        del box
        return _chain_energy(state.chain, conditions.kT)


@dataclasses.dataclass(frozen=True)
class NPT:
    """Constant temperature and pressure: Nosé-Hoover chains; the cell keeps its shape.

    Args:
        time: period of the thermostat, sqrt(amu Å^2 / eV).
        barostat_time: period of the barostat, sqrt(amu Å^2 / eV).

    References:
        Tuckerman et al., J. Phys. A 39, 5629 (2006).
    """

    time: float = 10.0
    barostat_time: float = 100.0
    moves_box = True
    moves_center_of_mass = False

    def start(self, atoms: "AtomicState", box, conditions: Conditions, dt):
        """Returns the initial state of the integrator."""
        count = len(atoms.position)
        zero = jnp.zeros((), atoms.position.dtype)
        inertia = 3 * (count + 1) * conditions.kT * self.barostat_time**2
        return _JaxMDState.NPT(
            *atoms,
            reference_box=box,
            box_position=zero,
            box_momentum=zero,
            box_mass=jnp.asarray(inertia, zero.dtype),
            barostat=_nose_hoover_chain(self.barostat_time, dt).initialize(
                1, zero, conditions.kT
            ),
            thermostat=_nose_hoover_chain(self.time, dt).initialize(
                degrees_of_freedom(count, self), _kinetic(atoms), conditions.kT
            ),
        )

    def step(self, energy: EnergyFunction, state, box, conditions: Conditions, dt):
        """Returns the state after one time step."""
        del box

        def strained(positions, *, box, perturbation=1.0, **_):
            return energy(positions * perturbation, box * perturbation)

        _, apply = simulate.npt_nose_hoover(
            strained,
            _shift,
            dt,
            _as_any(_pressure(state, conditions)),
            _as_any(conditions.kT),
            barostat_kwargs={"tau": self.barostat_time},
            thermostat_kwargs={"tau": self.time},
        )
        with warnings.catch_warnings():
            # jax-md requests double precision for one sum; JAX computes it in single.
            warnings.filterwarnings("ignore", "Explicitly requested dtype float64")
            return apply(state)

    def box(self, state, box):
        """Returns the cell of a state, rows, Å."""
        del box
        return simulate.npt_box(state)

    def extended_energy(self, state, box, conditions: Conditions):
        """Returns the energy of thermostat, barostat and pressure times volume, eV."""
        volume = jnp.abs(jnp.linalg.det(box))
        kinetic = state.box_momentum**2 / (2 * state.box_mass)
        chains = _chain_energy(state.thermostat, conditions.kT)
        chains += _chain_energy(state.barostat, conditions.kT)
        return kinetic + chains + conditions.pressure * volume


Ensemble = NVE | Langevin | NoseHoover | NPT


class AtomicState(NamedTuple):
    """The first fields of every integrator's state, in their order."""

    position: Float[Array, "atoms 3"]
    """Å."""
    momentum: Float[Array, "atoms 3"]
    """sqrt(eV amu)."""
    force: Float[Array, "atoms 3"]
    """eV/Å."""
    mass: Float[Array, "atoms 1"]
    """amu."""


def degrees_of_freedom(atoms: int, ensemble: Ensemble) -> int:
    """Returns the number of degrees of freedom of the kinetic energy.

    Args:
        atoms: number of atoms.
        ensemble: three fewer if it keeps the center of mass at rest.
    """
    fixed = 0 if ensemble.moves_center_of_mass or atoms == 1 else 3
    return 3 * atoms - fixed


class _JaxMDState:
    """States of jax-md, whose constructors type checkers cannot see."""

    NVE: Any = simulate.NVEState
    Langevin: Any = simulate.NVTLangevinState
    NoseHoover: Any = simulate.NVTNoseHooverState
    NPT: Any = simulate.NPTNoseHooverState


def _as_any(array) -> Any:
    """jax-md annotates float but accepts arrays."""
    return array


def _force_function(energy: EnergyFunction, box):
    return lambda positions, **_: -jax.grad(energy)(positions, box)


def _shift(positions, change, **_):
    """Positions are not wrapped: the shifts of listed pairs stay valid."""
    return positions + change


def _kinetic(atoms: AtomicState):
    return 0.5 * jnp.sum(atoms.momentum**2 / atoms.mass)


def _pressure(state, conditions: Conditions):
    """jax-md's volume is a determinant, which is negative for left-handed cells."""
    return conditions.pressure * jnp.sign(jnp.linalg.det(state.reference_box))


def _nose_hoover_chain(time: float, dt):
    """Three thermostats, integrated with the defaults of jax-md."""
    return simulate.nose_hoover_chain(
        dt, chain_length=3, chain_steps=2, sy_steps=3, tau=time
    )


def _chain_energy(chain, kT):
    """sum_k p_k^2 / 2 Q_k + kT (g xi_1 + xi_2 + ...), eV."""
    kinetic = jnp.sum(chain.momentum**2 / (2 * chain.mass))
    coordinates = chain.degrees_of_freedom * chain.position[0] + jnp.sum(
        chain.position[1:]
    )
    return kinetic + kT * coordinates
