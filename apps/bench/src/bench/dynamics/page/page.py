"""A page with the table and the plots of a study."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from bench.dynamics.page.table import HEADINGS, rows
from bench.dynamics.study.recording import read_thermo
from bench.files import write_text
from bench.report.style import COLOURS, as_data_url, as_label, legend_below

_STYLES = ("-", "--", ":", "-.")


def write_page(results: Sequence[Mapping[str, Any]], out: Path) -> Path:
    """Writes `md.html`, one file with everything in it.

    Args:
        results: as in the `result.json` of each pair.
        out: folder of the study.

    Returns:
        Path of the page.
    """
    figures = [
        ("Simulations that go on while they are heated", survival(results)),
        ("Energy that should be conserved", conservation(results, out)),
        ("Temperatures", temperatures(results, out)),
        ("Distances between atoms at constant temperature", distances(results)),
        ("Vibrations at constant energy", spectra(results)),
        ("Infrared spectra, in models with charges", absorption(results)),
    ]
    if not any(result["infrared"] for result in results):
        figures.pop()
    folder = resources.files("bench") / "templates"
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.from_string((folder / "md.html.jinja").read_text()).render(
        headings=HEADINGS,
        rows=rows(results),
        notes=_notes(results),
        figures=[
            {"caption": caption, "source": as_data_url(figure)}
            for caption, figure in figures
        ],
    )
    write_text(out / "md.html", text)
    return out / "md.html"


def survival(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Share of a model's replicas, over all structures, that still go on.

    Args:
        results: of the study.
    """
    figure, axes = _axes(1)
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        (ramp,) = [p for p in result["phases"] if p["name"] == "ramp"]
        by_model.setdefault(result["model"], []).append(ramp)
    for m, (model, ramps) in enumerate(by_model.items()):
        times, share = survival_curve(ramps)
        axes[0].step(times, share, where="post", label=as_label(model), **_line(m))
    first = next(iter(by_model.values()))[0]
    axes[0].set_xlabel(f"time (ps), {first['start']:.0f} to {first['end']:.0f} K")
    axes[0].set_ylabel("share going on")
    axes[0].set_ylim(-0.05, 1.05)
    return _finished(figure, axes[0])


def survival_curve(
    phases: Sequence[Mapping[str, Any]],
) -> tuple[np.ndarray, np.ndarray]:
    """Times of failures and the share that goes on after each.

    Args:
        phases: results of one kind of phase; all their replicas count.
    """
    replicas = [replica for phase in phases for replica in phase["replicas"]]
    failed = sorted(r["survived_ps"] for r in replicas if r["cause"] is not None)
    end = max(phase["picoseconds"] for phase in phases)
    gone = np.arange(1, len(failed) + 1)
    share = 1 - gone / len(replicas)
    last = share[-1] if failed else 1.0
    return np.array([0.0, *failed, end]), np.array([1.0, *share, last])


def conservation(results: Sequence[Mapping[str, Any]], out: Path) -> Figure:
    """Change of the total energy at constant energy, meV an atom.

    Args:
        results: of the study.
        out: its folder.
    """
    return _series(
        results,
        out,
        "nve",
        "energy change (meV/atom)",
        lambda rows, atoms: (
            1000 * (rows["conserved_eV"] - rows["conserved_eV"][0]) / atoms
        ),
    )


def temperatures(results: Sequence[Mapping[str, Any]], out: Path) -> Figure:
    """Kinetic temperatures while the structure is heated.

    Args:
        results: of the study.
        out: its folder.
    """
    return _series(
        results, out, "ramp", "temperature (K)", lambda rows, _: rows["temperature_K"]
    )


def distances(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Radial distribution functions, beside the reference's where there is one.

    Args:
        results: of the study.
    """
    figure, panels = _panels(results)
    for result, ax, line in panels:
        radial = result["radial"]
        if radial is None:
            continue
        ax.plot(radial["r"], radial["g"], label=as_label(result["model"]), **line)
        if "reference" in radial and line["color"] == COLOURS[0]:
            ax.plot(radial["r"], radial["reference"], "k", linewidth=0.8)
        ax.set_xlabel("distance (Å)", fontsize=8)
        ax.set_ylabel("g(r)" if result["periodic"] else "density (1/Å)", fontsize=8)
    return figure


def spectra(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Vibrational densities of states.

    Args:
        results: of the study.
    """
    return _spectrum(results, "vibrations", "density", "density (cm)")


def absorption(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Infrared spectra.

    Args:
        results: of the study, some with a spectrum.
    """
    return _spectrum(results, "infrared", "intensity", "intensity (cm)")


def _spectrum(results, name: str, column: str, label: str) -> Figure:
    figure, panels = _panels(results)
    for result, ax, line in panels:
        found = result[name]
        if found is not None:
            ax.plot(
                found["waves"], found[column], label=as_label(result["model"]), **line
            )
        ax.set_xlabel("wave number (1/cm)", fontsize=8)
        ax.set_ylabel(label, fontsize=8)
    return figure


def _series(results, out: Path, phase: str, label: str, of) -> Figure:
    figure, panels = _panels(results)
    for result, ax, line in panels:
        place = out / result["model"] / result["structure"] / phase / "thermo.csv"
        columns = read_thermo(place) if place.exists() else {}
        ax.set_xlabel("time (ps)", fontsize=8)
        ax.set_ylabel(label, fontsize=8)
        if not columns:
            continue
        first = {n: c[columns["replica"] == 0] for n, c in columns.items()}
        if len(first["time_ps"]):
            values = of(first, result["atoms"])
            ax.plot(first["time_ps"], values, label=as_label(result["model"]), **line)
    return figure


def _panels(results):
    """A figure with one panel a structure, and what to draw where and how."""
    structures = list(dict.fromkeys(r["structure"] for r in results))
    models = list(dict.fromkeys(r["model"] for r in results))
    figure, axes = _axes(len(structures))
    for ax, structure in zip(axes, structures, strict=True):
        ax.set_title(as_label(structure), fontsize=9)
        ax.tick_params(labelsize=7)
    for m, model in enumerate(models):
        axes[0].plot([], [], label=as_label(model), **_line(m))
    legend_below(figure, axes[0], 4, 7)
    drawn = [
        (r, axes[structures.index(r["structure"])], _line(models.index(r["model"])))
        for r in results
    ]
    return figure, drawn


def _axes(count: int):
    figure = Figure(figsize=(6.6, 2.8 * count), layout="constrained")
    return figure, figure.subplots(count, 1, squeeze=False).ravel()


def _finished(figure: Figure, ax) -> Figure:
    ax.tick_params(labelsize=8)
    legend_below(figure, ax, 4, 7)
    return figure


def _line(m: int) -> dict[str, Any]:
    """Told apart by colour first, then by style."""
    style = _STYLES[m // len(COLOURS) % len(_STYLES)]
    return {"color": COLOURS[m % len(COLOURS)], "linestyle": style, "linewidth": 1.0}


def _notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the table has no room for."""
    notes = []
    for result in results:
        name = f"{result['model']}, {result['structure']}"
        if result["warning"]:
            notes.append(f"{name}: {result['warning']}")
        notes += [
            f"{name}: {check['name']} ({check['detail']}): {check['value']:.3g}"
            for check in result["prechecks"]
            if not check["passed"]
        ]
        notes += _rest(name, result["relaxation"])
        for phase in result["phases"]:
            notes += [
                f"{name}, {phase['name']}: {replica['cause']}, {replica['detail']}"
                for replica in phase["replicas"]
                if replica["cause"] not in (None, "not_started")
            ]
        charges = result["charges"]
        if charges is not None:
            notes.append(
                f"{name}: charges between {charges['least']:+.2f} and "
                f"{charges['most']:+.2f} e; their sum differs from the total charge by "
                f"{charges['largest_total_error']:.1e} e at most; they change by "
                f"{charges['mean_change']:.3f} e an atom between halves."
            )
        if result["radial"] and result["radial"]["error"] is not None:
            error = result["radial"]["error"]
            notes.append(f"{name}: distances differ by {100 * error:.1f} %.")
    return notes


def _rest(name: str, relaxation: Mapping[str, Any] | None) -> list[str]:
    if relaxation is None:
        return []
    told = (
        f"{name}, relax: {relaxation['steps']} steps, "
        f"{relaxation['energy_meV_atom']:+.1f} meV/atom, atoms moved by "
        f"{relaxation['moved']:.2f} Å at most; largest force left "
        f"{relaxation['largest_force']:.2f} eV/Å"
    )
    if relaxation["cause"] is not None:
        told += f"; {relaxation['cause']}, {relaxation['detail']}"
    return [f"{told}."]
