"""Table of the results of all models and structures."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.dynamics.study.protocol import FORCE_TOLERANCE
from bench.dynamics.study.stage_result import NOT_STARTED

HEADINGS = (
    "model",
    "structure",
    "atoms",
    "prechecks",
    "relax",
    "nvt",
    "nve",
    "meV/atom/ps",
    "ratio",
    "ramp",
    "npt",
    "steps/s",
)

_MISSING = "–"
_SKIPPED = "not started"


def rows(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Returns one row per model and structure, with the columns `HEADINGS`.

    Args:
        results: contents of the `result.json` of each simulation.
    """
    return [_row(result) for result in results]


def _row(result: Mapping[str, Any]) -> list[str]:
    stages = {stage["name"]: stage for stage in result["stages"]}
    failed = [c["name"] for c in result["prechecks"] if not c["passed"]]
    nve = stages["nve"]["replicas"]
    rates = [r["drift_meV_atom_ps"] for r in nve if "drift_meV_atom_ps" in r]
    ratios = [
        r["energy_change_over_kinetic_std"]
        for r in nve
        if "energy_change_over_kinetic_std" in r
    ]
    speeds = [s["steps_per_second"] for s in stages.values() if s["steps_per_second"]]
    return [
        result["model"],
        result["structure"],
        str(result["n_atoms"]),
        ", ".join(failed) or "ok",
        _relaxation_cell(result["relaxation"]),
        stage_cell(stages["nvt"]),
        stage_cell(stages["nve"]),
        f"{max(rates, key=abs):+.3f}" if rates else _MISSING,
        f"{max(ratios):.2f}" if ratios else _MISSING,
        stage_cell(stages["ramp"]),
        stage_cell(stages["npt"]) if "npt" in stages else _MISSING,
        f"{max(speeds):.0f}" if speeds else _MISSING,
    ]


def summary_line(result: Mapping[str, Any]) -> str:
    """Returns the outcome of all stages that started, on one line.

    Args:
        result: contents of `result.json`.
    """
    cells = dict(zip(HEADINGS, _row(result), strict=True))
    parts = []
    if cells["prechecks"] != "ok":
        parts.append(f"prechecks failed: {cells['prechecks']}")
    for name in ("relax", "nvt", "nve", "ramp", "npt"):
        if cells[name] not in (_MISSING, _SKIPPED):
            parts.append(f"{name} {cells[name]}")
        if name == "nve" and cells["meV/atom/ps"] != _MISSING:
            parts[-1] += f" ({cells['meV/atom/ps']} meV/atom/ps)"
    return f"{cells['model']}, {cells['structure']}: {'; '.join(parts)}"


def _relaxation_cell(relaxation: Mapping[str, Any] | None) -> str:
    if relaxation is None:
        return _MISSING
    if relaxation["cause"] is not None:
        return f"{relaxation['cause']} at step {relaxation['steps']}"
    return "ok" if relaxation["max_force_eV_A"] <= FORCE_TOLERANCE else "not converged"


def stage_cell(stage: Mapping[str, Any]) -> str:
    """Returns `ok`, `drifts`, `not started`, or the first failure of a stage.

    Args:
        stage: result of the stage.
    """
    failures = [r for r in stage["replicas"] if r["cause"] is not None]
    if not failures:
        return "ok" if stage["passed"] else "drifts"
    started = [r for r in failures if r["cause"] != NOT_STARTED]
    if not started:
        return _SKIPPED
    first = min(started, key=lambda r: r["survived_ps"])
    text = f"{first['cause']} at {first['survived_ps']:.2f} ps"
    heated = stage["start_temperature_K"] != stage["end_temperature_K"]
    if heated and "final_target_temperature_K" in first:
        text += f", {first['final_target_temperature_K']:.0f} K"
    if len(stage["replicas"]) > 1:
        text += f" ({len(failures)} of {len(stage['replicas'])})"
    return text
