"""The results of all models and structures in one table."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.dynamics.study.protocol import RESTING_FORCE

HEADINGS = (
    "model",
    "structure",
    "atoms",
    "before",
    "relax",
    "nvt",
    "nve",
    "meV/atom/ps",
    "ratio",
    "ramp",
    "npt",
    "steps/s",
)


def rows(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """One row a model and structure, below `HEADINGS`.

    Args:
        results: as in `result.json`.
    """
    return [_row(result) for result in results]


def _row(result: Mapping[str, Any]) -> list[str]:
    phases = {phase["name"]: phase for phase in result["phases"]}
    failed = [c["name"] for c in result["prechecks"] if not c["passed"]]
    nve = phases["nve"]["replicas"]
    rates = [r["drift_meV_atom_ps"] for r in nve if "drift_meV_atom_ps" in r]
    ratios = [r["drift_ratio"] for r in nve if "drift_ratio" in r]
    speeds = [p["steps_per_second"] for p in phases.values() if p["steps_per_second"]]
    return [
        result["model"],
        result["structure"],
        str(result["atoms"]),
        ", ".join(failed) or "ok",
        _rest(result["relaxation"]),
        verdict(phases["nvt"]),
        verdict(phases["nve"]),
        f"{max(rates, key=abs):+.3f}" if rates else "–",
        f"{max(ratios):.2f}" if ratios else "–",
        verdict(phases["ramp"]),
        verdict(phases["npt"]) if "npt" in phases else "–",
        f"{max(speeds):.0f}" if speeds else "–",
    ]


def line(result: Mapping[str, Any]) -> str:
    """One line that says what held, up to the first phase that did not start.

    Args:
        result: as in `result.json`.
    """
    cells = dict(zip(HEADINGS, _row(result), strict=True))
    told = [] if cells["before"] == "ok" else [f"before: {cells['before']}"]
    for name in ("relax", "nvt", "nve", "ramp", "npt"):
        if cells[name] not in ("–", "not started"):
            told.append(f"{name} {cells[name]}")
        if name == "nve" and cells["meV/atom/ps"] != "–":
            told[-1] += f" ({cells['meV/atom/ps']} meV/atom/ps)"
    return f"{cells['model']}, {cells['structure']}: {'; '.join(told)}"


def _rest(relaxation: Mapping[str, Any] | None) -> str:
    """How the way to rest ended."""
    if relaxation is None:
        return "–"
    if relaxation["cause"] is not None:
        return f"{relaxation['cause']} at step {relaxation['steps']}"
    return "ok" if relaxation["largest_force"] <= RESTING_FORCE else "not at rest"


def verdict(phase: Mapping[str, Any]) -> str:
    """How a phase ended in a few words: `ok`, `drifts`, or the first failure.

    Args:
        phase: its result.
    """
    failures = [r for r in phase["replicas"] if r["cause"] is not None]
    if not failures:
        return "ok" if phase["passed"] else "drifts"
    if all(r["cause"] == "not_started" for r in failures):
        return "not started"
    first = min(
        (r for r in failures if r["cause"] != "not_started"),
        key=lambda r: r["survived_ps"],
    )
    at = f"{first['survived_ps']:.2f} ps"
    if phase["start"] != phase["end"] and "last_target_K" in first:
        at += f", {first['last_target_K']:.0f} K"
    of = f" ({len(failures)} of {len(phase['replicas'])})"
    several = of if len(phase["replicas"]) > 1 else ""
    return f"{first['cause']} at {at}{several}"
