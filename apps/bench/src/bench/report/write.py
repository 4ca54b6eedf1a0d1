"""Report of a grid as HTML and Markdown."""

import io
import os
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from chemsplit import chemical_map, separation
from matplotlib.figure import Figure

from bench.dataset.opening import Dataset, load_for_training
from bench.evaluation.breakdown import (
    by_charge,
    by_element,
    by_similarity,
    by_size,
    nearest_similarity,
)
from bench.evaluation.run_files import (
    read_cost,
    read_failure_reason,
    read_grid,
    read_history,
    read_result,
    read_split,
    read_test_predictions,
)
from bench.exceptions import BenchError
from bench.experiment.descriptors import DescribedStructures, describe_for_report
from bench.files import write_bytes, write_text
from bench.labels import LABELS_BY_KIND
from bench.report.figures import (
    ELEMENT_PANELS,
    breakdown,
    cost_accuracy,
    error_bars,
    learning_curves,
)
from bench.report.parity import charge_densities, parity
from bench.report.style import as_data_url, as_markdown
from bench.report.tables import (
    comparison_table,
    error_rows,
    error_tables,
    kinds_of,
    main_kind,
)
from bench.settings.grid import Run
from bench.settings.parsing import read_text


def write_report(folder: str | os.PathLike) -> Path:
    """Writes `report.html`, `report.md` and the figures of a folder's finished runs.

    Args:
        folder: folder of a grid.

    Returns:
        Path of the page.

    Raises:
        BenchError: the folder contains no finished run, or a file is damaged.

    Examples:
        >>> page = bench.write_report("runs/mine")
    """
    folder = Path(folder)
    config = folder / "config.yaml"
    if not config.exists():
        raise BenchError(
            f"{folder} contains no grid: pass the --out folder of a `bench run`."
        )
    grid = read_grid(folder)
    failed = [r for r in grid.runs() if (folder / r.name / "failed.json").exists()]
    runs = [r for r in grid.runs() if (folder / r.name / "result.json").exists()]
    if not runs:
        raise BenchError(
            f"No run in {folder} has finished: start or resume the grid with "
            "`bench run`."
        )
    results = [read_result(folder / r.name) for r in runs]
    splits = {(r.split, r.seed): read_split(folder / r.name) for r in runs}
    frames = {
        r.name: read_test_predictions(
            folder / r.name, result["sizes"], splits[r.split, r.seed]
        )
        for r, result in zip(runs, results, strict=True)
    }
    costs = {r.name: read_cost(folder / r.name) for r in runs}
    rows = error_rows(results, frames, costs)
    data = load_for_training(grid.dataset)
    _check_data(results, data, folder)
    described = describe_for_report(data, folder, grid.split.descriptor)
    context = {
        "grid": grid,
        "errors": error_tables(rows),
        "comparison": comparison_table(runs, frames),
        "settings": read_text(config),
        "notes": _split_size_notes(results)
        + _separation_notes(splits, data, described)
        + [_failure_note(folder / r.name) for r in failed],
        "figures": _save_figures(
            folder,
            {"errors": ("Errors in and out of distribution", error_bars(rows))}
            | _learning_curves(folder, runs)
            | {
                "cost": (
                    "Test error against the cost of a prediction",
                    cost_accuracy(rows, main_kind(rows)),
                )
            }
            | _maps(splits, data, described)
            | _breakdowns(splits, results, frames, (data, described), main_kind(rows))
            | _parity_plots(results, frames),
        ),
    }
    for name in ("report.md", "report.html"):
        write_text(folder / name, render(name, context))
    return folder / "report.html"


def render(name: str, context: dict[str, Any]) -> str:
    """Renders a template; markup in values is escaped.

    Args:
        name: name of the page, `report.md` or `report.html`.
        context: variables of the template.
    """
    template = resources.files("bench") / "templates" / f"{name}.jinja"
    environment = jinja2.Environment(
        autoescape=name.endswith("html"), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["markdown"] = as_markdown
    environment.globals["labels"] = LABELS_BY_KIND
    return environment.from_string(template.read_text()).render(context)


def _check_data(results: list[dict[str, Any]], data: Dataset, folder: Path) -> None:
    """Raises an error if the data changed since the results were made."""
    stored = {r["data"] for r in results} - {data.digest}
    if stored:
        raise BenchError(
            f"The results in {folder} were made from different data (hash stored "
            f"{stored.pop()}, now {data.digest}): restore the original data, or run "
            "the grid again in another folder."
        )


def _failure_note(run: Path) -> str:
    return f"{run.name} failed: {read_failure_reason(run)}"


def _split_size_notes(results: list[dict[str, Any]]) -> list[str]:
    """Returns the sizes of each split, with structures excluded from the test set."""
    notes = {}
    for result in results:
        run, sizes, excluded = result["run"], result["sizes"], result["excluded"]
        split = f"{run['split']} split, seed {run['seed']}"
        text = (
            f"{sizes['train']} training, {sizes['validation']} validation and "
            f"{sizes['test']} test structures"
        )
        if excluded["structures"]:
            counts = excluded["new_elements"].items()
            elements = ", ".join(f"{symbol} ({n})" for symbol, n in counts)
            text += (
                f"; {excluded['structures']} structures excluded because of elements "
                f"that do not occur in training: {elements}"
            )
        notes[split] = f"{split}: {text}."
    return list(notes.values())


def _separation_notes(
    splits, data: Dataset, described: DescribedStructures
) -> list[str]:
    """Returns the distance between training and test set of each split."""
    notes = []
    groups = [data.groups[i] for i in described.rows]
    for (name, seed), split in splits.items():
        labels = split.labels(data.ids)[described.rows]
        train, test = (np.flatnonzero(labels == part) for part in ("train", "test"))
        # A drawn sample may contain too little of a set.
        if len(test) and len({groups[i] for i in train}) > 1:
            distances = separation(described.vectors, train, test, groups=groups)
            notes.append(f"{name} split, seed {seed}{described.note}: {distances}")
    return notes


Figures = dict[str, tuple[str, Figure]]
"""Caption and figure by name of the file."""


def _learning_curves(folder: Path, runs: list[Run]) -> Figures:
    histories = {r.name: read_history(folder / r.name) for r in runs}
    return {
        "learning": ("Validation errors during training", learning_curves(histories))
    }


def _maps(splits, data: Dataset, described: DescribedStructures) -> Figures:
    figures = {}
    for (name, seed), split in splits.items():
        title = f"{name} split, seed {seed}"
        labels = split.labels(data.ids)[described.rows]
        _, figure = chemical_map(described.vectors, labels, title=title)
        caption = f"Chemical space, {title}{described.note}"
        figures[f"map-{name}-{seed}"] = (caption, figure)
    return figures


def _breakdowns(splits, results, frames, data_and_described, kind: str) -> Figures:
    """Returns test errors by size, charge, element and similarity of each split."""
    figures = {}
    data, described = data_and_described
    kinds = {Run(**r["run"]): kinds_of(r) for r in results}
    for (name, seed), split in splits.items():
        labels = split.labels(data.ids)[described.rows]
        train, test = (np.flatnonzero(labels == part) for part in ("train", "test"))
        similarity = {}
        if len(train) and len(test):
            nearest = nearest_similarity(described.vectors, train, test)
            indices = described.rows[test].tolist()
            similarity = dict(zip(indices, nearest, strict=True))
        runs = [r for r in kinds if (r.split, r.seed) == (name, seed)]
        frames_of = lambda label, runs=runs: {
            r.model: frames[r.name] for r in runs if label in kinds[r]
        }
        main = frames_of(kind).items()
        panels = {
            "number of atoms": {model: by_size(f, kind) for model, f in main},
            "similarity to training": {
                model: by_similarity(f, similarity, kind) for model, f in main
            },
            "total charge (e)": {model: by_charge(f, kind) for model, f in main},
            **{
                criterion: {
                    model: by_element(f, per_atom)
                    for model, f in frames_of(per_atom).items()
                }
                for criterion, per_atom in ELEMENT_PANELS.items()
            },
        }
        title = f"{name} split, seed {seed}"
        caption = (
            "Test errors by size, charge, element and similarity"
            f"{described.note}, {title}"
        )
        figures[f"breakdown-{name}-{seed}"] = caption, breakdown(panels, title, kind)
    return figures


def _parity_plots(results, frames) -> Figures:
    figures = {}
    for result in results:
        run = Run(**result["run"])
        run_frames = frames[run.name]
        title = f"{run.model}, {run.split} split, seed {run.seed}"
        figures[f"parity-{run.name}"] = (
            f"Predictions against labels of the test set, {title}",
            parity(run_frames, title, kinds_of(result)),
        )
        if run.has_charges and any("label_charges" in f.arrays for f in run_frames):
            figures[f"charges-{run.name}"] = (
                f"Charges by element in the test set, {title}",
                charge_densities(run_frames, title),
            )
    return figures


def _save_figures(folder: Path, figures: Figures) -> list[dict[str, str]]:
    """Saves figures as files and returns them for the template."""
    (folder / "figures").mkdir(exist_ok=True)
    for name, (_, figure) in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=200)
        write_bytes(folder / "figures" / f"{name}.png", buffer.getvalue())
    return [
        {"caption": caption, "source": as_data_url(figure), "name": name}
        for name, (caption, figure) in figures.items()
    ]
