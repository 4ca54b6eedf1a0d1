"""Energy drift of trained models for several time steps and precisions.

Simulations at constant energy from velocities drawn at 300 K, on a structure that all
models of a data set were tested on, with time steps of 0.5 fs and 0.25 fs in single and
0.5 fs in double precision. A drift that decreases with the time step is caused by the
integrator, one that decreases in double precision by rounding, and one that does not
change by forces that are no gradient. Only non-finite numbers and close contacts stop a
simulation: broken bonds do not change the energy.

    python benchmarks/drift.py runs/md-models/random-mace+les-seed0 ... [--quick]

Prints the slope of the total energy (meV/atom/ps) and its standard error from four
blocks. `--quick` simulates a tenth of the time.
"""

import argparse
import tempfile
from pathlib import Path

import jax
import numpy as np
from bench.dynamics.checks.stability import Limits
from bench.dynamics.engine.interaction import make_interaction
from bench.dynamics.study.models import open_models
from bench.dynamics.study.stage import System, run_stage
from bench.dynamics.study.stage_files import read_thermo
from bench.dynamics.study.structures import (
    SimulationInputs,
    list_simulations,
    read_structures,
)
from bench.settings.simulation import SimulationSettings, Stage, StructureSettings

LIMITS = Limits(
    temperature=1e9,
    energy_jump=1e9,
    volume=1e9,
    close_contact=0.2,
    bond_stretch=1e9,
    fragment_distance=4.0,
)
CONFIGURATIONS = ((0.5, False), (0.25, False), (0.5, True))
"""Time step (fs) and double precision."""


def measure_drift(
    simulation: SimulationInputs, timestep: float, duration_ps: float, programs: dict
):
    """Returns drift, its standard error and the last temperature, as text."""
    model, initial = simulation
    structure = initial.structure
    system = System(
        initial.atoms,
        make_interaction(model.potential, structure),
        np.zeros_like(structure.positions),
        dtype=np.dtype(model.potential.scale.dtype),
        limits=LIMITS,
        programs=programs,
    )
    stage = Stage("nve", "nve", duration_ps, 300.0, 300.0, "")
    settings = SimulationSettings(
        timestep=timestep, sampling_interval=8, frame_interval=10**9
    )
    with tempfile.TemporaryDirectory() as folder:
        result = run_stage(
            system, stage, settings, Path(folder), lambda *_: None, start=[True]
        )
        columns = read_thermo(Path(folder) / "nve" / "thermo.csv")
    (replica,) = result["replicas"]
    if replica["cause"] is not None:
        return replica["detail"], "", ""
    times, energies = columns["time_ps"][1:], columns["conserved_eV"][1:]
    energies = 1000 * energies / len(structure)
    slope = np.polyfit(times - times.mean(), energies - energies.mean(), 1)[0]
    means = np.array([block.mean() for block in np.array_split(energies, 4)])
    centers = np.array([block.mean() for block in np.array_split(times, 4)])
    residuals = means - np.polyval(np.polyfit(centers, means, 1), centers)
    variance = np.sum(residuals**2) / 2
    error = np.sqrt(variance / np.sum((centers - centers.mean()) ** 2))
    temperature = columns["temperature_K"][-1]
    return f"{slope:+.3f}", f"{error:.3f}", f"{temperature:.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--picoseconds", type=float, default=0.5)
    parser.add_argument("--structure", type=Path, action="append", default=[])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    duration_ps = arguments.picoseconds / (10 if arguments.quick else 1)
    print(f"{duration_ps:g} ps at constant energy")
    print(
        "model         structure         fs  precision  meV/atom/ps  error    K at end"
    )
    for double in (False, True):
        with jax.enable_x64(double):
            structures = read_structures(StructureSettings(files=arguments.structure))
            models = open_models(arguments.folders)
            for model, initial in list_simulations(models, structures):
                programs = {}
                for timestep in (step for step, d in CONFIGURATIONS if d == double):
                    drift, error, temperature = measure_drift(
                        (model, initial), timestep, duration_ps, programs
                    )
                    print(
                        f"{model.name:13s} {initial.name:15s} {timestep:4g}"
                        f"  {'double' if double else 'single':9s} {drift:>11s}"
                        f"  {error:>6s}  {temperature:>7s}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
