"""What a phase came to, in plain values for a file."""

import dataclasses
from typing import Any

import numpy as np

from bench.dynamics.checks.causes import Failure
from bench.dynamics.checks.drift import drift
from bench.dynamics.study.protocol import PASSING_DRIFT, PASSING_RATIO, Phase

NOT_STARTED = "not_started"
"""The cause told of a replica whose earlier phase failed."""


def phase_outcome(
    phase: Phase,
    atoms: int,
    thermo: dict[str, np.ndarray],
    survived: list[float],
    failures: list[Failure | None],
) -> dict[str, Any]:
    """How long every replica went well and what the looks at it say.

    Args:
        phase: what was done.
        atoms: how many.
        thermo: columns of the table of looks.
        survived: ps, of each replica.
        failures: why each is over, None where it is not.
    """
    replicas = []
    for i, failure in enumerate(failures):
        mine = thermo["replica"] == i if thermo else np.zeros(0, bool)
        rows = {name: column[mine] for name, column in thermo.items()}
        told: dict[str, Any] = {
            "survived_ps": survived[i],
            "cause": None if failure is None else failure.cause,
            "detail": None if failure is None else failure.detail,
        }
        if mine.any():
            told |= _observed(phase, atoms, rows)
        replicas.append(told)
    passed = all(told["cause"] is None for told in replicas)
    if phase.ensemble == "nve":
        passed &= all(told.get("conserves", False) for told in replicas)
    return {**dataclasses.asdict(phase), "passed": passed, "replicas": replicas}


def _observed(phase: Phase, atoms: int, rows: dict[str, np.ndarray]) -> dict[str, Any]:
    times = rows["time_ps"]
    late = slice(len(times) // 2, None)
    told: dict[str, Any] = {
        "temperature_K": float(np.mean(rows["temperature_K"][late])),
        "last_target_K": float(rows["target_K"][-1]),
    }
    if phase.ensemble == "npt":
        volumes = rows["volume_A3"]
        told["volume_change"] = float(volumes[-1] / volumes[0] - 1)
    finite = bool(np.isfinite(rows["conserved_eV"]).all())
    if phase.ensemble == "nve" and finite and len(times) > 2:
        found = drift(times, rows["conserved_eV"], rows["kinetic_eV"], atoms)
        told |= {"drift_meV_atom_ps": found.rate, "drift_ratio": found.ratio}
        told["conserves"] = (
            abs(found.rate) < PASSING_DRIFT and found.ratio < PASSING_RATIO
        )
    return told
