"""One page and one text file that say how a grid came out."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import ase.io
import jinja2
import numpy as np
import yaml
from chemsplit import Split, chemical_map

from ._config import Grid
from ._dataset import load
from ._errors import BenchError
from ._figures import as_data_url, error_bars, learning_curves, parity
from ._splits import descriptors


def write_report(folder: Path) -> Path:
    """Writes `report.html`, `report.md` and the figures of a folder's finished runs.

    Returns:
        Path of the page.

    Raises:
        BenchError: the folder holds no finished run.
    """
    config = folder / "config.yaml"
    if not config.exists():
        raise BenchError(
            f"{folder} holds no experiment: give the --out of a `bench run`."
        )
    grid = Grid(**yaml.safe_load(config.read_text()))
    runs = [r for r in grid.runs() if (folder / r.name / "result.json").exists()]
    if not runs:
        raise BenchError(f"No run in {folder} is finished: start it with `bench run`.")
    results = [json.loads((folder / r.name / "result.json").read_text()) for r in runs]
    rows = [_row(r) for r in results]
    columns = _columns(rows)
    figures = _figures(grid, folder, runs, rows)
    facts = {
        "grid": grid,
        "table": [_cells(r, columns) for r in rows],
        "columns": columns,
        "settings": config.read_text(),
        "notes": _notes(results),
        "figures": figures,
    }
    for name in ("report.md", "report.html"):
        template = (
            resources.files("bench") / "templates" / f"{name}.jinja"
        ).read_text()
        environment = jinja2.Environment(
            autoescape=name.endswith("html"), trim_blocks=True, lstrip_blocks=True
        )
        text = environment.from_string(template).render(facts)
        temporary = folder / f"{name}.partial"
        temporary.write_text(text)
        temporary.replace(folder / name)
    return folder / "report.html"


# Key, heading, format; errors are mean absolute ones.
_COLUMNS = (
    ("split", "split", "{}"),
    ("model", "model", "{}"),
    ("seed", "seed", "{}"),
    ("parameters", "parameters", "{:,}"),
    ("validation_energy", "E validation (meV/atom)", "{:.2f}"),
    ("test_energy", "E test (meV/atom)", "{:.2f}"),
    ("gap_energy", "E test / validation", "{:.2f}"),
    ("floor_energy", "E floor (meV/atom)", "{:.1f}"),
    ("validation_force", "F validation (meV/Å)", "{:.1f}"),
    ("test_force", "F test (meV/Å)", "{:.1f}"),
    ("gap_force", "F test / validation", "{:.2f}"),
    ("floor_force", "F floor (meV/Å)", "{:.0f}"),
    ("validation_charge", "Q validation (me)", "{:.1f}"),
    ("test_charge", "Q test (me)", "{:.1f}"),
    ("floor_charge", "Q floor (me)", "{:.0f}"),
)


def _columns(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """The columns of properties that some model predicts and some label tells."""
    absent = tuple(
        kind
        for kind in ("_force", "_charge")
        if not any(np.isfinite(r[f"test{kind}"]) for r in rows)
    )
    return [c for c in _COLUMNS if not absent or not c[0].endswith(absent)]


def _row(result: dict[str, Any]) -> dict[str, Any]:
    row = {
        "split": result["run"]["split"],
        "model": result["model"],
        "seed": result["run"]["seed"],
        "parameters": result["parameters"],
    }
    for kind in ("energy", "force", "charge"):
        for column, errors in (
            ("validation", result["errors"]["validation"]),
            ("test", result["errors"]["test"]),
            ("floor", result["floors"]["test"]),
        ):
            value = errors[f"{kind}_mae"]
            row[f"{column}_{kind}"] = np.nan if value is None else value
        row[f"gap_{kind}"] = row[f"test_{kind}"] / row[f"validation_{kind}"]
    return row


def _notes(results: list[dict[str, Any]]) -> list[str]:
    """Sizes of the splits, and what was left out of a test and why."""
    notes = {}
    for r in results:
        run, sizes = r["run"], r["sizes"]
        where = f"{run['split']} split, seed {run['seed']}"
        text = (
            f"{sizes['train']} training, {sizes['validation']} validation and "
            f"{sizes['test']} test structures"
        )
        if r["excluded"]["structures"]:
            left_out = r["excluded"]
            named = ", ".join(f"{z} ({n})" for z, n in left_out["unseen"].items())
            text += (
                f"; {left_out['structures']} structures left out for elements that "
                f"training never saw: {named}"
            )
        notes[where] = f"{where}: {text}."
    return list(notes.values())


def _figures(grid: Grid, folder: Path, runs, rows) -> list[dict[str, str]]:
    """Captions and pictures; each is also saved as a file."""
    made = [
        ("errors", "Mean absolute errors in and out of distribution", error_bars(rows))
    ]
    histories = {
        r.name: [
            json.loads(line)
            for line in (folder / r.name / "metrics.jsonl").read_text().splitlines()
        ]
        for r in runs
    }
    made.append(
        ("learning", "Validation errors while training", learning_curves(histories))
    )
    data = load(grid.dataset)
    vectors = descriptors(data)
    for split, seed in dict.fromkeys((r.split, r.seed) for r in runs):
        run = next(r for r in runs if (r.split, r.seed) == (split, seed))
        stored = Split.load(folder / run.name / "split.json")
        title = f"{split} split, seed {seed}"
        _, figure = chemical_map(vectors, stored.labels(data.ids), title=title)
        made.append((f"map-{split}-{seed}", f"Chemical space, {title}", figure))
    for run in runs:
        frames = list(ase.io.iread(folder / run.name / "predictions.extxyz"))
        title = f"{run.model}, {run.split} split, seed {run.seed}"
        made.append(
            (
                f"parity-{run.name}",
                f"Test part, {title}",
                parity(frames, title, run.has_charges),
            )
        )
    place = folder / "figures"
    place.mkdir(exist_ok=True)
    for name, _, figure in made:
        figure.savefig(place / f"{name}.png", dpi=200)
    return [{"caption": c, "source": as_data_url(f), "name": n} for n, c, f in made]


def _cells(row: dict[str, Any], columns: list[tuple[str, str, str]]) -> list[str]:
    """The cells of a row as text."""
    values = []
    for key, _, form in columns:
        number = isinstance(row[key], float) and not np.isfinite(row[key])
        values.append("–" if number else form.format(row[key]))
    return values
