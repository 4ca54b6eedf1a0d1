"""Summary of a finished stage, as JSON values."""

import dataclasses
from typing import Any

import numpy as np

from bench.dynamics.checks.drift import energy_drift
from bench.dynamics.checks.stability import Failure
from bench.dynamics.study.protocol import (
    MAX_DRIFT,
    MAX_ENERGY_CHANGE_OVER_KINETIC_STD,
)
from bench.settings.simulation import Stage

NOT_STARTED = "not_started"
"""Cause reported for a replica whose previous stage failed."""


def summarize_stage(
    stage: Stage,
    n_atoms: int,
    thermo: dict[str, np.ndarray],
    survived: list[float],
    failures: list[Failure | None],
) -> dict[str, Any]:
    """Summarizes the survival and the observations of every replica.

    Args:
        stage: stage that was simulated.
        n_atoms: number of atoms.
        thermo: columns of `thermo.csv`.
        survived: time without failure of each replica, ps.
        failures: failure of each replica; None if it did not fail.
    """
    replicas = []
    for i, failure in enumerate(failures):
        rows = thermo["replica"] == i if thermo else np.zeros(0, bool)
        summary: dict[str, Any] = {
            "survived_ps": survived[i],
            "cause": None if failure is None else failure.cause,
            "detail": None if failure is None else failure.detail,
        }
        if rows.any():
            columns = {name: column[rows] for name, column in thermo.items()}
            summary |= _summarize_observations(stage, n_atoms, columns)
        replicas.append(summary)
    passed = all(replica["cause"] is None for replica in replicas)
    if stage.ensemble == "nve":
        passed &= all(replica.get("conserves_energy", False) for replica in replicas)
    return {**dataclasses.asdict(stage), "passed": passed, "replicas": replicas}


def _summarize_observations(
    stage: Stage, n_atoms: int, columns: dict[str, np.ndarray]
) -> dict[str, Any]:
    times, conserved = columns["time_ps"], columns["conserved_eV"]
    second_half = slice(len(times) // 2, None)
    summary: dict[str, Any] = {
        "temperature_K": float(np.mean(columns["temperature_K"][second_half])),
        "final_target_temperature_K": float(columns["target_temperature_K"][-1]),
    }
    if stage.ensemble == "npt":
        volumes = columns["volume_A3"]
        summary["volume_change"] = float(volumes[-1] / volumes[0] - 1)
    finite = bool(np.isfinite(conserved).all())
    if stage.ensemble == "nve" and finite and len(times) > 2:
        drift = energy_drift(times, conserved, columns["kinetic_eV"], n_atoms)
        summary |= {
            "drift_meV_atom_ps": drift.rate,
            "energy_change_over_kinetic_std": drift.change_over_kinetic_std,
        }
        summary["conserves_energy"] = (
            abs(drift.rate) < MAX_DRIFT
            and drift.change_over_kinetic_std < MAX_ENERGY_CHANGE_OVER_KINETIC_STD
        )
    return summary
