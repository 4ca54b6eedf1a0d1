"""Whether trained models conserve energy, and what it takes if they do not.

Constant energy from velocities drawn at 300 K, on a structure that all models of a data
set were tested on, at 0.5 fs and 0.25 fs in single and at 0.5 fs in double precision:
where the drift falls with the time step, the step is to blame; where it falls in double
precision, rounding is; where it stays, the model's forces are no slopes. Nothing but
broken numbers ends a simulation here, for a bond that breaks costs no energy.

    python benchmarks/drift.py runs/md-models/random-mace+les-seed0 ... [--quick]

Drift is the slope of the total energy (meV/atom/ps), beside the standard error that its
fluctuation alone gives it, from four blocks. `--quick` takes a tenth of the time.
"""

import argparse
import tempfile
from pathlib import Path

import jax
import numpy as np
from bench.dynamics.checks.causes import Limits
from bench.dynamics.engine.interaction import interaction
from bench.dynamics.study.cases import Pair, paired, read_cases
from bench.dynamics.study.models import open_models
from bench.dynamics.study.phase import Subject, run_phase
from bench.dynamics.study.protocol import Phase, Settings
from bench.dynamics.study.recording import read_thermo

NOTHING = Limits(1e9, 1e9, volume=1e9, contact=0.2, stretch=1e9, reach=4.0)
WAYS = ((0.5, False), (0.25, False), (0.5, True))


def slope(pair: Pair, timestep: float, picoseconds: float, programs: dict):
    """Drift, its uncertainty and the last temperature."""
    model, case = pair
    structure = case.structure
    subject = Subject(
        case.atoms,
        interaction(model.potential, structure),
        np.zeros_like(structure.positions),
        dtype=np.dtype(model.potential.scale.dtype),
        limits=NOTHING,
        programs=programs,
    )
    phase = Phase("nve", "nve", picoseconds, 300.0, 300.0, "")
    settings = Settings(timestep=timestep, looks=8, frames=10**9)
    with tempfile.TemporaryDirectory() as folder:
        found = run_phase(
            subject, phase, settings, Path(folder), lambda *_: None, start=[True]
        )
        rows = read_thermo(Path(folder) / "nve" / "thermo.csv")
    if found["replicas"][0]["cause"] is not None:
        return found["replicas"][0]["detail"], "", ""
    times, energies = rows["time_ps"][1:], rows["conserved_eV"][1:]
    energies = 1000 * energies / len(structure)
    line = np.polyfit(times - times.mean(), energies - energies.mean(), 1)[0]
    means = np.array([part.mean() for part in np.array_split(energies, 4)])
    centres = np.array([part.mean() for part in np.array_split(times, 4)])
    rest = means - np.polyval(np.polyfit(centres, means, 1), centres)
    error = np.sqrt(np.sum(rest**2) / 2 / np.sum((centres - centres.mean()) ** 2))
    return f"{line:+.3f}", f"{error:.3f}", f"{rows['temperature_K'][-1]:.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--picoseconds", type=float, default=0.5)
    parser.add_argument("--structure", type=Path, action="append", default=[])
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    picoseconds = chosen.picoseconds / (10 if chosen.quick else 1)
    print(f"{picoseconds:g} ps at constant energy")
    print(
        "model         structure         fs  precision  meV/atom/ps  error    K at end"
    )
    for double in (False, True):
        with jax.enable_x64(double):
            cases = read_cases(chosen.structure, None, 0)
            for model, case in paired(open_models(chosen.folders), cases):
                programs = {}
                for timestep in (step for step, wide in WAYS if wide == double):
                    told = slope((model, case), timestep, picoseconds, programs)
                    print(
                        f"{model.name:13s} {case.name:15s} {timestep:4g}"
                        f"  {'double' if double else 'single':9s} {told[0]:>11s}"
                        f"  {told[1]:>6s}  {told[2]:>7s}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
