"""Phases: broken potentials are caught, stopped runs go on, temperatures are right."""

import dataclasses
import json

import ase
import ase.build
import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import units
from backbones import write_arrays
from bench.dynamics.checks.causes import CAUSES, Limits
from bench.dynamics.engine.interaction import Interaction
from bench.dynamics.study.phase import Subject, run_phase
from bench.dynamics.study.protocol import Phase, Settings, timestep_warning
from bench.dynamics.study.recording import read_thermo
from bench.exceptions import BenchError

CUTOFF = 6.0


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def springs(weights, positions, senders, receivers, shifts, box, plan, triplets):
    """Pairs on springs, with everything that can be wrong behind a weight.

    The weights are: stiffness, length, soft repulsion, height and place of a step of
    the energy, place beyond which there is no energy.
    """
    stiff, length, soft, step, edge, end = weights
    vectors = positions[senders] - positions[receivers]
    if box is not None:
        vectors = vectors + shifts.astype(positions.dtype) @ box
    real = senders < len(positions)
    r = jnp.sqrt(jnp.where(real, jnp.sum(vectors**2, 1), 1.0))
    pair = 0.5 * stiff * (r - length) ** 2 + soft * (1 - r / CUTOFF) ** 2
    pair = pair + step * (r > edge)
    pair = jnp.where(r > end, jnp.nan, pair)
    return 0.5 * jnp.sum(jnp.where(real, pair, 0.0))


GOOD = {"stiff": 5.0, "length": 1.5, "soft": 0.0, "step": 0.0, "edge": 9.0, "end": 9.0}
BROKEN = {
    "nan": {"end": 1.6},
    "temperature": {"stiff": 5000.0, "length": 1.2},
    "energy_jump": {"step": 20.0, "edge": 1.52},
    "close_contact": {"stiff": 0.5, "length": 0.5},
    "fragment": {"stiff": 0.5, "length": 3.5},
    "bond_stretch": {"stiff": 2.0, "length": 2.15},
    "volume": {"stiff": 0.0, "soft": 0.3},
}


def interaction(**changes):
    weights = jnp.array(list((GOOD | changes).values()), float)
    return Interaction(CUTOFF, springs, weights)


def subject(atoms, programs, **changes):
    forces = np.zeros_like(atoms.positions)
    return Subject(
        atoms, interaction(**changes), forces, dtype=np.float64, programs=programs
    )


@pytest.fixture(scope="module")
def programs():
    """One compiled program for all of them: they differ in weights."""
    return {}


@pytest.fixture
def pair():
    return ase.Atoms("C2", [[0, 0, 0], [1.5, 0, 0]])


SETTINGS = Settings(looks=40, frames=3)
NVT = Phase("nvt", "langevin", 1.0, 300.0, 300.0, "")
TELL = lambda *news: None


@pytest.mark.parametrize("cause", CAUSES)
def test_a_broken_potential_is_caught(cause, pair, programs, tmp_path):
    atoms, phase, settings = pair, NVT, SETTINGS
    if cause == "volume":
        atoms = ase.build.bulk("Cu", "fcc", a=3.6, cubic=True)
        phase = Phase("npt", "npt", 2.0, 300.0, 300.0, "")
    elif cause in ("close_contact", "fragment", "bond_stretch"):
        # Looked at rarely, when the potential has done what it wants.
        settings = dataclasses.replace(SETTINGS, looks=400)
    broken = subject(atoms, {} if cause == "volume" else programs, **BROKEN[cause])
    found = run_phase(broken, phase, settings, tmp_path, TELL, start=[True])
    (replica,) = found["replicas"]
    assert replica["cause"] == cause and replica["detail"]
    assert not found["passed"] and replica["survived_ps"] < phase.picoseconds


def test_a_sound_potential_passes(pair, programs, tmp_path):
    found = run_phase(
        subject(pair, programs), NVT, SETTINGS, tmp_path, TELL, start=[True]
    )
    assert found["passed"] and found["replicas"][0]["survived_ps"] == 1.0
    columns = read_thermo(tmp_path / "nvt" / "thermo.csv")
    np.testing.assert_allclose(columns["time_ps"], np.arange(1, 51) * 0.02)
    frames = ase.io.read(tmp_path / "nvt" / "trajectory.extxyz", ":")
    assert len(frames) == 17 and frames[0].get_momenta().any()
    after = Phase("nve", "nve", 0.2, 300.0, 300.0, "nvt")
    nve = run_phase(
        subject(pair, programs), after, SETTINGS, tmp_path, TELL, start=[True]
    )
    (replica,) = nve["replicas"]
    assert abs(replica["drift_meV_atom_ps"]) < 0.5 and replica["drift_ratio"] < 1
    end = read_thermo(tmp_path / "nve" / "thermo.csv")
    # At rest as a whole: the friction's six degrees of freedom became three.
    assert np.ptp(end["conserved_eV"]) < 1e-3


@pytest.mark.parametrize("periodic", [True, False])
def test_atoms_move_near_the_origin_and_are_recorded_where_they_are(
    periodic, pair, programs, tmp_path
):
    """Far away single precision would leave a thousandth of an Å."""
    brief = dataclasses.replace(NVT, picoseconds=0.04)
    shift, found = np.array([10_000.0, -9_999.7, 123.4]), []
    if periodic:
        pair.set_cell(np.diag([20.0, 21, 22]))
        pair.pbc = True
    for name, move in (("here", 0.0), ("far", shift)):
        atoms = pair.copy()
        atoms.positions += move
        one = subject(atoms, {} if periodic else programs)
        assert np.abs(atoms.positions - one.origin).max() < 15
        run_phase(one, brief, SETTINGS, tmp_path / name, TELL, start=[True])
        frames = ase.io.read(tmp_path / name / "nvt" / "trajectory.extxyz", ":")
        found.append(np.stack([frame.positions for frame in frames]) - move)
    np.testing.assert_allclose(*found, atol=1e-7)


class Stop(Exception):
    pass


def test_a_stopped_phase_goes_on_to_the_bit(pair, programs, tmp_path):
    ramp = Phase("ramp", "langevin", 0.4, 300.0, 600.0, "")
    settings = dataclasses.replace(SETTINGS, looks=10, frames=4, replicas=2)
    run = lambda folder, tell: run_phase(
        subject(pair, programs), ramp, settings, folder, tell, start=[True, True]
    )
    whole = run(tmp_path / "whole", TELL)

    def stop(phase, share, rate, kelvin):
        if share > 0.4:
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path / "broken", stop)
    checkpoint = tmp_path / "broken" / "ramp" / "checkpoint.npz"
    whole_file = checkpoint.read_bytes()

    def refused(message, body=None, **changes):
        changed = dataclasses.replace(settings, **changes)
        body = body or subject(pair, programs)
        with pytest.raises(BenchError, match=message):
            run_phase(body, ramp, changed, tmp_path / "broken", TELL, start=[True] * 2)

    refused(r"other settings, pressure \(there 0.0, here 1.0\): ", pressure=1.0)
    of_others = dataclasses.replace(subject(pair, programs), made_from={"data": "new"})
    refused(r"other data, data \(there None, here new\)", of_others)
    checkpoint.write_bytes(whole_file[:200])
    refused("checkpoint.npz is damaged: delete it, and the same command")
    write_arrays(checkpoint, {}, {"caller": {}})
    refused("was written by an earlier version")
    checkpoint.write_bytes(whole_file)
    # What a killed process wrote after its checkpoint is taken away.
    thermo = tmp_path / "broken" / "ramp" / "thermo.csv"
    thermo.write_text(thermo.read_text() + "half a li")
    again = run(tmp_path / "broken", TELL)
    assert whole["replicas"] == again["replicas"]
    for name in ("thermo.csv", "trajectory.extxyz"):
        both = [
            (tmp_path / w / "ramp" / name).read_bytes() for w in ("whole", "broken")
        ]
        assert both[0] == both[1]
    stored = json.loads((tmp_path / "broken" / "ramp" / "result.json").read_text())
    assert stored["replicas"] == again["replicas"]
    columns = read_thermo(thermo)
    first = columns["replica"] == 0
    np.testing.assert_allclose(columns["target_K"][first][-1], 600.0)
    assert set(columns["replica"]) == {0.0, 1.0}


def test_replicas_whose_earlier_phase_failed_do_not_start(pair, programs, tmp_path):
    settings = dataclasses.replace(SETTINGS, replicas=2)
    good = subject(pair, programs)
    run_phase(good, NVT, settings, tmp_path, TELL, start=[True, True])
    after = Phase("nve", "nve", 0.1, 300.0, 300.0, "nvt")
    found = run_phase(good, after, settings, tmp_path, TELL, start=[False, True])
    assert [r["cause"] for r in found["replicas"]] == ["not_started", None]
    assert found["replicas"][0]["survived_ps"] == 0.0
    none = dataclasses.replace(after, name="other")
    found = run_phase(good, none, settings, tmp_path, TELL, start=[False, False])
    assert [r["cause"] for r in found["replicas"]] == ["not_started"] * 2


def test_time_steps_that_hydrogen_does_not_allow_are_warned_of():
    water, carbon = ase.build.molecule("H2O"), ase.build.bulk("C")
    assert timestep_warning(water, 1.0) is None
    assert "2 fs is above the 1 fs" in str(timestep_warning(water, 2.0))
    assert timestep_warning(carbon, 2.0) is None
    assert "above the 2 fs" in str(timestep_warning(carbon, 3.0))


def correlated_mean(values, blocks=20):
    """Mean and its standard error from block averages."""
    means = np.array([part.mean() for part in np.array_split(values, blocks)])
    return means.mean(), means.std(ddof=1) / np.sqrt(blocks)


def loose(body):
    """A fluid has neither bonds nor a shape to lose."""
    limits = Limits(99.0, 99.0, volume=9.0, contact=0.01, stretch=99.0, reach=4.0)
    return dataclasses.replace(body, limits=limits)


@pytest.mark.parametrize("thermostat", ["langevin", "nose-hoover"])
def test_kinetic_energies_are_canonical(thermostat, tmp_path):
    """The mean is kT/2 a degree of freedom, the variance that of a chi-square."""
    rng = np.random.default_rng(1)
    atoms = ase.Atoms("C6", 0.8 * rng.normal(size=(6, 3)))
    phase = Phase("nvt", thermostat, 20.0, 300.0, 300.0, "")
    settings = Settings(timestep=1.0, looks=40, frames=10_000)
    body = subject(atoms, {}, stiff=0.1, length=1.5, soft=1.0)
    found = run_phase(loose(body), phase, settings, tmp_path, TELL, start=[True])
    assert found["passed"], found
    kinetic = read_thermo(tmp_path / "nvt" / "thermo.csv")["kinetic_eV"][50:]
    freedom = 18 if thermostat == "langevin" else 15
    mean, error = correlated_mean(kinetic)
    expected = 0.5 * freedom * units.kB * 300
    assert error < 0.05 * expected
    assert abs(mean - expected) < 4 * error
    spread, uncertain = correlated_mean((kinetic - expected) ** 2)
    assert abs(spread - expected**2 * 2 / freedom) < 4 * uncertain


def test_a_barostat_holds_its_pressure(tmp_path):
    atoms = ase.build.bulk("Cu", "fcc", a=3.6, cubic=True)
    phase = Phase("npt", "npt", 10.0, 300.0, 300.0, "")
    settings = Settings(timestep=1.0, looks=20, frames=10_000, pressure=5.0)
    body = subject(atoms, {}, stiff=0.0, soft=0.08)
    found = run_phase(loose(body), phase, settings, tmp_path, TELL, start=[True])
    assert found["passed"], found
    columns = read_thermo(tmp_path / "npt" / "thermo.csv")
    mean, error = correlated_mean(columns["pressure_GPa"][100:])
    assert error < 0.5
    assert abs(mean - 5.0) < 4 * error
    assert np.ptp(columns["volume_A3"]) > 0
    kelvin, uncertain = correlated_mean(columns["temperature_K"][100:])
    assert abs(kelvin - 300) < 4 * uncertain
    conserved = columns["conserved_eV"]
    assert np.ptp(conserved) < 0.05 * np.ptp(columns["potential_eV"])
