"""Stages: failure causes, restarts, canonical temperatures, pressure."""

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
from bench.dynamics.checks.stability import CAUSES, Limits
from bench.dynamics.engine.interaction import Interaction
from bench.dynamics.study.protocol import timestep_warning
from bench.dynamics.study.stage import System, run_stage
from bench.dynamics.study.stage_files import read_thermo
from bench.exceptions import BenchError
from bench.settings.simulation import SimulationSettings, Stage

CUTOFF = 6.0


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def toy_structure(weights, positions, senders, receivers, shifts, box, plan, triplets):
    """Harmonic pairs with optional defects, one for each failure cause.

    The weights are: stiffness, length, soft repulsion, height and distance of a step of
    the energy, distance beyond which the energy is NaN.
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


STABLE = {
    "stiff": 5.0,
    "length": 1.5,
    "soft": 0.0,
    "step": 0.0,
    "edge": 9.0,
    "end": 9.0,
}
UNSTABLE = {
    "nan": {"end": 1.6},
    "temperature": {"stiff": 5000.0, "length": 1.2},
    "energy_jump": {"step": 20.0, "edge": 1.52},
    "close_contact": {"stiff": 0.5, "length": 0.5},
    "fragment": {"stiff": 0.5, "length": 3.5},
    "bond_stretch": {"stiff": 2.0, "length": 2.15},
    "volume": {"stiff": 0.0, "soft": 0.3},
}


def interaction(**changes):
    weights = jnp.array(list((STABLE | changes).values()), float)
    return Interaction(CUTOFF, toy_structure, weights)


def make_system(atoms, programs, **changes):
    forces = np.zeros_like(atoms.positions)
    return System(
        atoms, interaction(**changes), forces, dtype=np.float64, programs=programs
    )


@pytest.fixture(scope="module")
def programs():
    """One compiled program for all potentials: they differ in weights."""
    return {}


@pytest.fixture
def pair():
    return ase.Atoms("C2", [[0, 0, 0], [1.5, 0, 0]])


SETTINGS = SimulationSettings(sampling_interval=40, frame_interval=3)
NVT = Stage("nvt", "langevin", 1.0, 300.0, 300.0, "")
CALLBACK = lambda *progress: None


@pytest.mark.parametrize("cause", CAUSES)
def test_failures_are_detected(cause, pair, programs, tmp_path):
    atoms, stage, settings = pair, NVT, SETTINGS
    if cause == "volume":
        atoms = ase.build.bulk("Cu", "fcc", a=3.6, cubic=True)
        stage = Stage("npt", "npt", 2.0, 300.0, 300.0, "")
    elif cause in ("close_contact", "fragment", "bond_stretch"):
        # Few observations: energy and temperature have settled in between.
        settings = SETTINGS.model_copy(update={"sampling_interval": 400})
    unstable = make_system(
        atoms, {} if cause == "volume" else programs, **UNSTABLE[cause]
    )
    result = run_stage(unstable, stage, settings, tmp_path, CALLBACK, start=[True])
    (replica,) = result["replicas"]
    assert replica["cause"] == cause and replica["detail"]
    assert not result["passed"] and replica["survived_ps"] < stage.duration_ps


def test_a_stable_potential_passes(pair, programs, tmp_path):
    result = run_stage(
        make_system(pair, programs), NVT, SETTINGS, tmp_path, CALLBACK, start=[True]
    )
    assert result["passed"] and result["replicas"][0]["survived_ps"] == 1.0
    columns = read_thermo(tmp_path / "nvt" / "thermo.csv")
    np.testing.assert_allclose(columns["time_ps"], np.arange(1, 51) * 0.02)
    frames = ase.io.read(tmp_path / "nvt" / "trajectory.extxyz", ":")
    assert len(frames) == 17 and frames[0].get_momenta().any()
    after = Stage("nve", "nve", 0.2, 300.0, 300.0, "nvt")
    nve = run_stage(
        make_system(pair, programs), after, SETTINGS, tmp_path, CALLBACK, start=[True]
    )
    (replica,) = nve["replicas"]
    assert (
        abs(replica["drift_meV_atom_ps"]) < 0.5
        and replica["energy_change_over_kinetic_std"] < 1
    )
    end = read_thermo(tmp_path / "nve" / "thermo.csv")
    # The total momentum is removed: six degrees of freedom become three.
    assert np.ptp(end["conserved_eV"]) < 1e-3


@pytest.mark.parametrize("periodic", [True, False])
def test_trajectories_far_from_the_origin_have_full_precision(
    periodic, pair, programs, tmp_path
):
    """Single precision of the unshifted positions would be a thousandth of an Å."""
    short = dataclasses.replace(NVT, duration_ps=0.04)
    shift, trajectories = np.array([10_000.0, -9_999.7, 123.4]), []
    if periodic:
        pair.set_cell(np.diag([20.0, 21, 22]))
        pair.pbc = True
    for name, move in (("near", 0.0), ("far", shift)):
        atoms = pair.copy()
        atoms.positions += move
        system = make_system(atoms, {} if periodic else programs)
        assert np.abs(atoms.positions - system.origin).max() < 15
        run_stage(system, short, SETTINGS, tmp_path / name, CALLBACK, start=[True])
        frames = ase.io.read(tmp_path / name / "nvt" / "trajectory.extxyz", ":")
        trajectories.append(np.stack([frame.positions for frame in frames]) - move)
    np.testing.assert_allclose(*trajectories, atol=1e-7)


class Stop(Exception):
    pass


def test_a_stopped_stage_continues_bit_for_bit(pair, programs, tmp_path):
    ramp = Stage("ramp", "langevin", 0.4, 300.0, 600.0, "")
    settings = SETTINGS.model_copy(
        update={"sampling_interval": 10, "frame_interval": 4, "replicas": 2}
    )
    run = lambda folder, callback: run_stage(
        make_system(pair, programs),
        ramp,
        settings,
        folder,
        callback,
        start=[True, True],
    )
    complete = run(tmp_path / "complete", CALLBACK)

    def stop(stage, fraction, rate, temperature):
        if fraction > 0.4:
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path / "stopped", stop)
    checkpoint = tmp_path / "stopped" / "ramp" / "checkpoint.npz"
    content = checkpoint.read_bytes()

    def assert_rejected(message, system=None, **changes):
        changed = settings.model_copy(update=changes)
        system = system or make_system(pair, programs)
        with pytest.raises(BenchError, match=message):
            run_stage(
                system, ramp, changed, tmp_path / "stopped", CALLBACK, start=[True] * 2
            )

    assert_rejected(r"other settings, pressure \(stored 0.0, now 1.0\): ", pressure=1.0)
    other_data = dataclasses.replace(
        make_system(pair, programs), made_from={"data": "new"}
    )
    assert_rejected(r"different data, hash \(stored None, now new\)", other_data)
    checkpoint.write_bytes(content[:200])
    assert_rejected("checkpoint.npz is damaged: delete it and rerun the same command")
    write_arrays(checkpoint, {}, {"stage_metadata": {}})
    assert_rejected("was made by an older version")
    checkpoint.write_bytes(content)
    # What a killed process wrote after its checkpoint is removed.
    thermo = tmp_path / "stopped" / "ramp" / "thermo.csv"
    thermo.write_text(thermo.read_text() + "half a li")
    continued = run(tmp_path / "stopped", CALLBACK)
    assert complete["replicas"] == continued["replicas"]
    for name in ("thermo.csv", "trajectory.extxyz"):
        both = [
            (tmp_path / run / "ramp" / name).read_bytes()
            for run in ("complete", "stopped")
        ]
        assert both[0] == both[1]
    stored = json.loads((tmp_path / "stopped" / "ramp" / "result.json").read_text())
    assert stored["replicas"] == continued["replicas"]
    columns = read_thermo(thermo)
    first = columns["replica"] == 0
    np.testing.assert_allclose(columns["target_temperature_K"][first][-1], 600.0)
    assert set(columns["replica"]) == {0.0, 1.0}


def test_replicas_that_failed_in_an_earlier_stage_are_not_started(
    pair, programs, tmp_path
):
    settings = SETTINGS.model_copy(update={"replicas": 2})
    system = make_system(pair, programs)
    run_stage(system, NVT, settings, tmp_path, CALLBACK, start=[True, True])
    after = Stage("nve", "nve", 0.1, 300.0, 300.0, "nvt")
    result = run_stage(system, after, settings, tmp_path, CALLBACK, start=[False, True])
    assert [r["cause"] for r in result["replicas"]] == ["not_started", None]
    assert result["replicas"][0]["survived_ps"] == 0.0
    other = dataclasses.replace(after, name="other")
    result = run_stage(
        system, other, settings, tmp_path, CALLBACK, start=[False, False]
    )
    assert [r["cause"] for r in result["replicas"]] == ["not_started"] * 2


def test_long_time_steps_cause_a_warning():
    water, carbon = ase.build.molecule("H2O"), ase.build.bulk("C")
    assert timestep_warning(water, 1.0) is None
    assert "2 fs exceeds the 1 fs" in str(timestep_warning(water, 2.0))
    assert timestep_warning(carbon, 2.0) is None
    assert "exceeds the 2 fs" in str(timestep_warning(carbon, 3.0))


def correlated_mean(values, blocks=20):
    """Returns the mean and its standard error from block averages."""
    means = np.array([part.mean() for part in np.array_split(values, blocks)])
    return means.mean(), means.std(ddof=1) / np.sqrt(blocks)


def without_limits(system):
    """For a fluid, which has no bonds and no fixed shape."""
    limits = Limits(
        temperature=99.0,
        energy_jump=99.0,
        volume=9.0,
        close_contact=0.01,
        bond_stretch=99.0,
        fragment_distance=4.0,
    )
    return dataclasses.replace(system, limits=limits)


@pytest.mark.parametrize("thermostat", ["langevin", "nose-hoover"])
def test_kinetic_energies_are_canonical(thermostat, tmp_path):
    """Their mean is kT/2 per degree of freedom, their variance that of a chi-square."""
    rng = np.random.default_rng(1)
    atoms = ase.Atoms("C6", 0.8 * rng.normal(size=(6, 3)))
    stage = Stage("nvt", thermostat, 20.0, 300.0, 300.0, "")
    settings = SimulationSettings(
        timestep=1.0, sampling_interval=40, frame_interval=10_000
    )
    system = make_system(atoms, {}, stiff=0.1, length=1.5, soft=1.0)
    result = run_stage(
        without_limits(system), stage, settings, tmp_path, CALLBACK, start=[True]
    )
    assert result["passed"], result
    kinetic = read_thermo(tmp_path / "nvt" / "thermo.csv")["kinetic_eV"][50:]
    degrees = 18 if thermostat == "langevin" else 15
    mean, error = correlated_mean(kinetic)
    expected = 0.5 * degrees * units.kB * 300
    assert error < 0.05 * expected
    assert abs(mean - expected) < 4 * error
    variance, error = correlated_mean((kinetic - expected) ** 2)
    assert abs(variance - expected**2 * 2 / degrees) < 4 * error


def test_the_mean_pressure_is_that_of_the_barostat(tmp_path):
    atoms = ase.build.bulk("Cu", "fcc", a=3.6, cubic=True)
    stage = Stage("npt", "npt", 10.0, 300.0, 300.0, "")
    settings = SimulationSettings(
        timestep=1.0, sampling_interval=20, frame_interval=10_000, pressure=5.0
    )
    system = make_system(atoms, {}, stiff=0.0, soft=0.08)
    result = run_stage(
        without_limits(system), stage, settings, tmp_path, CALLBACK, start=[True]
    )
    assert result["passed"], result
    columns = read_thermo(tmp_path / "npt" / "thermo.csv")
    mean, error = correlated_mean(columns["pressure_GPa"][100:])
    assert error < 0.5
    assert abs(mean - 5.0) < 4 * error
    assert np.ptp(columns["volume_A3"]) > 0
    temperature, error = correlated_mean(columns["temperature_K"][100:])
    assert abs(temperature - 300) < 4 * error
    conserved = columns["conserved_eV"]
    assert np.ptp(conserved) < 0.05 * np.ptp(columns["potential_eV"])
