"""Figures of a study."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.dynamics.study.stage_files import read_thermo
from bench.report.style import COLORS, as_label, legend_below

Results = Sequence[Mapping[str, Any]]
"""Contents of the `result.json` of each simulation."""

_LINESTYLES = ("-", "--", ":", "-.")


def survival(results: Results) -> Figure:
    """Draws the fraction of stable replicas of each model, over all structures.

    Args:
        results: results of the study.
    """
    figure, (axes,) = _subplots(1)
    ramps_by_model: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        (ramp,) = [stage for stage in result["stages"] if stage["name"] == "ramp"]
        ramps_by_model.setdefault(result["model"], []).append(ramp)
    for m, (model, ramps) in enumerate(ramps_by_model.items()):
        times, fractions = survival_curve(ramps)
        style = _line_style(m)
        axes.step(times, fractions, where="post", label=as_label(model), **style)
    first = next(iter(ramps_by_model.values()))[0]
    start, end = first["start_temperature_K"], first["end_temperature_K"]
    axes.set_xlabel(f"time (ps), {start:.0f} to {end:.0f} K")
    axes.set_ylabel("fraction of stable replicas")
    axes.set_ylim(-0.05, 1.05)
    axes.tick_params(labelsize=8)
    legend_below(figure, axes, 4, 7)
    return figure


def survival_curve(
    stages: Sequence[Mapping[str, Any]],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the times of failures (ps) and the stable fraction after each.

    Args:
        stages: results of the same stage of several simulations, with all
            replicas.
    """
    replicas = [replica for stage in stages for replica in stage["replicas"]]
    failed = sorted(r["survived_ps"] for r in replicas if r["cause"] is not None)
    end = max(stage["duration_ps"] for stage in stages)
    fractions = 1 - np.arange(1, len(failed) + 1) / len(replicas)
    last = fractions[-1] if failed else 1.0
    return np.array([0.0, *failed, end]), np.array([1.0, *fractions, last])


def energy_conservation(results: Results, out: Path) -> Figure:
    """Draws the change of the total energy at constant energy, meV/atom.

    Args:
        results: results of the study.
        out: folder of the study.
    """

    def change(columns: dict[str, np.ndarray], n_atoms: int) -> np.ndarray:
        energies = columns["conserved_eV"]
        return 1000 * (energies - energies[0]) / n_atoms

    return _time_series(results, out, "nve", "energy change (meV/atom)", change)


def temperatures(results: Results, out: Path) -> Figure:
    """Draws the kinetic temperature during heating.

    Args:
        results: results of the study.
        out: folder of the study.
    """
    temperature = lambda columns, _: columns["temperature_K"]
    return _time_series(results, out, "ramp", "temperature (K)", temperature)


def radial_distributions(results: Results) -> Figure:
    """Draws radial distribution functions and those of the reference, if any.

    Args:
        results: results of the study.
    """
    figure, panels = _panels(results)
    for result, axes, style in panels:
        radial = result["radial_distribution"]
        if radial is None:
            continue
        label = as_label(result["model"])
        axes.plot(radial["r"], radial["g"], label=label, **style)
        if "reference" in radial and style["color"] == COLORS[0]:
            axes.plot(radial["r"], radial["reference"], "k", linewidth=0.8)
        axes.set_xlabel("distance (Å)", fontsize=8)
        axes.set_ylabel("g(r)" if result["periodic"] else "density (1/Å)", fontsize=8)
    return figure


def vibrational_spectra(results: Results) -> Figure:
    """Draws vibrational densities of states.

    Args:
        results: results of the study.
    """
    return _spectra(
        results, "vibrations", "density_of_states", "density of states (cm)"
    )


def infrared_spectra(results: Results) -> Figure:
    """Draws infrared spectra.

    Args:
        results: results of the study, some with a spectrum.
    """
    return _spectra(results, "infrared", "intensity", "intensity (cm)")


def _spectra(results: Results, name: str, column: str, ylabel: str) -> Figure:
    figure, panels = _panels(results)
    for result, axes, style in panels:
        spectrum = result[name]
        if spectrum is not None:
            x, y = spectrum["wavenumbers"], spectrum[column]
            axes.plot(x, y, label=as_label(result["model"]), **style)
        axes.set_xlabel("wavenumber (1/cm)", fontsize=8)
        axes.set_ylabel(ylabel, fontsize=8)
    return figure


def _time_series(
    results: Results,
    out: Path,
    stage: str,
    ylabel: str,
    quantity: Callable[[dict[str, np.ndarray], int], np.ndarray],
) -> Figure:
    """Draws a quantity of the first replica against time.

    `quantity` is called with the columns of `thermo.csv` and the number of atoms.
    """
    figure, panels = _panels(results)
    for result, axes, style in panels:
        path = out / result["model"] / result["structure"] / stage / "thermo.csv"
        columns = read_thermo(path) if path.exists() else {}
        axes.set_xlabel("time (ps)", fontsize=8)
        axes.set_ylabel(ylabel, fontsize=8)
        if not columns:
            continue
        first = {name: c[columns["replica"] == 0] for name, c in columns.items()}
        if len(first["time_ps"]):
            values = quantity(first, result["n_atoms"])
            axes.plot(
                first["time_ps"], values, label=as_label(result["model"]), **style
            )
    return figure


def _panels(
    results: Results,
) -> tuple[Figure, list[tuple[Mapping[str, Any], Axes, dict[str, Any]]]]:
    """Returns a figure with one panel per structure, and panel and style per result."""
    structures = list(dict.fromkeys(r["structure"] for r in results))
    models = list(dict.fromkeys(r["model"] for r in results))
    figure, panels = _subplots(len(structures))
    for axes, structure in zip(panels, structures, strict=True):
        axes.set_title(as_label(structure), fontsize=9)
        axes.tick_params(labelsize=7)
    for m, model in enumerate(models):
        panels[0].plot([], [], label=as_label(model), **_line_style(m))
    legend_below(figure, panels[0], 4, 7)
    return figure, [
        (
            result,
            panels[structures.index(result["structure"])],
            _line_style(models.index(result["model"])),
        )
        for result in results
    ]


def _subplots(count: int) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(6.6, 2.8 * count), layout="constrained")
    return figure, figure.subplots(count, 1, squeeze=False).ravel()


def _line_style(m: int) -> dict[str, Any]:
    """Models differ in color first, then in line style."""
    style = _LINESTYLES[m // len(COLORS) % len(_LINESTYLES)]
    return {"color": COLORS[m % len(COLORS)], "linestyle": style, "linewidth": 1.0}
