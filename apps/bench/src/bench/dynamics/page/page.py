"""HTML page with the table and the figures of a study."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from bench.dynamics.page.figures import (
    energy_conservation,
    infrared_spectra,
    radial_distributions,
    survival,
    temperatures,
    vibrational_spectra,
)
from bench.dynamics.page.table import HEADINGS, rows
from bench.dynamics.study.stage_result import NOT_STARTED
from bench.files import write_text
from bench.report.style import as_data_url


def write_page(results: Sequence[Mapping[str, Any]], out: Path) -> Path:
    """Writes `md.html`, a single file that contains its figures.

    Args:
        results: contents of the `result.json` of each simulation.
        out: folder of the study.

    Returns:
        Path of the page.
    """
    figures = [
        {"caption": caption, "source": as_data_url(figure)}
        for caption, figure in _figures(results, out)
    ]
    template = resources.files("bench") / "templates" / "md.html.jinja"
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.from_string(template.read_text()).render(
        headings=HEADINGS, rows=rows(results), notes=_notes(results), figures=figures
    )
    write_text(out / "md.html", text)
    return out / "md.html"


def _figures(
    results: Sequence[Mapping[str, Any]], out: Path
) -> list[tuple[str, Figure]]:
    """Returns captions and figures."""
    figures = [
        ("Fraction of stable simulations during heating", survival(results)),
        (
            "Conserved energy at constant energy, first replica",
            energy_conservation(results, out),
        ),
        ("Temperature during heating, first replica", temperatures(results, out)),
        (
            "Radial distribution functions at constant temperature",
            radial_distributions(results),
        ),
        (
            "Vibrational densities of states at constant energy",
            vibrational_spectra(results),
        ),
    ]
    if any(result["infrared"] for result in results):
        caption = "Infrared spectra of models with charges"
        figures.append((caption, infrared_spectra(results)))
    return figures


def _notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns warnings, failures and numbers that are not in the table."""
    return [note for result in results for note in _notes_of(result)]


def _notes_of(result: Mapping[str, Any]) -> list[str]:
    name = f"{result['model']}, {result['structure']}"
    notes = []
    if result["warning"]:
        notes.append(f"{name}: {result['warning']}")
    notes += [
        f"{name}: precheck {check['name']} failed: {check['value']:.3g} "
        f"({check['detail']})."
        for check in result["prechecks"]
        if not check["passed"]
    ]
    notes += _relaxation_notes(name, result["relaxation"])
    for stage in result["stages"]:
        notes += [
            f"{name}, {stage['name']}: {replica['cause']} ({replica['detail']})."
            for replica in stage["replicas"]
            if replica["cause"] not in (None, NOT_STARTED)
        ]
    charges = result["charges"]
    if charges is not None:
        notes.append(
            f"{name}: charges are between {charges['min']:+.2f} and "
            f"{charges['max']:+.2f} e; their sum deviates from the total charge by "
            f"{charges['max_total_error']:.1e} e at most; they change by "
            f"{charges['mean_change_between_halves']:.3f} e per atom between the first "
            "and the second half."
        )
    radial = result["radial_distribution"]
    if radial and radial["error"] is not None:
        percent = 100 * radial["error"]
        notes.append(
            f"{name}: the radial distribution deviates from the reference by "
            f"{percent:.1f} %."
        )
    return notes


def _relaxation_notes(name: str, relaxation: Mapping[str, Any] | None) -> list[str]:
    if relaxation is None:
        return []
    note = (
        f"{name}, relax: {relaxation['steps']} steps, energy change "
        f"{relaxation['energy_change_meV_atom']:+.1f} meV/atom, largest displacement "
        f"{relaxation['max_displacement_A']:.2f} Å, largest force "
        f"{relaxation['max_force_eV_A']:.2f} eV/Å"
    )
    if relaxation["cause"] is not None:
        note += f"; {relaxation['cause']} ({relaxation['detail']})"
    return [f"{note}."]
