"""One page and one text file that say how a grid came out."""

import io
import os
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
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
from bench.experiment.splits import stored_descriptors
from bench.files import write_bytes, write_text
from bench.report.figures import breakdown, cost_accuracy, error_bars, learning_curves
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
        folder: of a grid.

    Returns:
        Path of the page.

    Raises:
        BenchError: the folder holds no finished run.

    Examples:
        >>> page = bench.write_report("runs/mine")
    """
    folder = Path(folder)
    config = folder / "config.yaml"
    if not config.exists():
        raise BenchError(
            f"{folder} holds no experiment: give the --out of a `bench run`."
        )
    grid = read_grid(folder)
    failed = [r for r in grid.runs() if (folder / r.name / "failed.json").exists()]
    runs = [r for r in grid.runs() if (folder / r.name / "result.json").exists()]
    if not runs:
        raise BenchError(f"No run in {folder} is finished: start it with `bench run`.")
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
    vectors = stored_descriptors(data, folder)
    facts = {
        "grid": grid,
        "errors": error_tables(rows),
        "comparison": comparison_table(runs, frames),
        "settings": read_text(config),
        "notes": _notes(results)
        + _separations(splits, data, vectors)
        + [_failure(folder / r.name) for r in failed],
        "figures": _pictures(
            folder,
            {"errors": ("Errors in and out of distribution", error_bars(rows))}
            | _learning(folder, runs)
            | {
                "cost": (
                    "Cost of a prediction and test error",
                    cost_accuracy(rows, main_kind(rows)),
                )
            }
            | _maps(splits, data, vectors)
            | _breakdowns(splits, results, frames, (data, vectors), main_kind(rows))
            | _parities(results, frames),
        ),
    }
    for name in ("report.md", "report.html"):
        write_text(folder / name, rendered(name, facts))
    return folder / "report.html"


def rendered(name: str, facts: dict[str, Any]) -> str:
    """A page; names in it show as they are, whatever markup they hold.

    Args:
        name: of the page, `report.md` or `report.html`.
        facts: what its template asks for.
    """
    template = resources.files("bench") / "templates" / f"{name}.jinja"
    environment = jinja2.Environment(
        autoescape=name.endswith("html"), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["markdown"] = as_markdown
    return environment.from_string(template.read_text()).render(facts)


def _check_data(results: list[dict[str, Any]], data: Dataset, folder: Path) -> None:
    """Refuses to describe splits of data that are no longer those of the results."""
    others = {r["data"] for r in results} - {data.digest}
    if others:
        raise BenchError(
            f"The results in {folder} were made from other data, data (there "
            f"{others.pop()}, here {data.digest}): go back to them, or make the runs "
            "again in another folder."
        )


def _failure(place: Path) -> str:
    return f"{place.name} failed: {read_failure_reason(place)}"


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


def _separations(splits, data: Dataset, vectors) -> list[str]:
    """How far each split's test part lies from its training part."""
    notes = []
    for (name, seed), split in splits.items():
        train, _, test = split.indices(data.ids)
        found = separation(vectors, train, test, groups=data.groups)
        notes.append(f"{name} split, seed {seed}: {found}")
    return notes


Made = dict[str, tuple[str, Figure]]
"""Caption and figure by name of the file."""


def _learning(folder: Path, runs: list[Run]) -> Made:
    histories = {r.name: read_history(folder / r.name) for r in runs}
    return {"learning": ("Validation errors in training", learning_curves(histories))}


def _maps(splits, data: Dataset, vectors) -> Made:
    made = {}
    for (name, seed), split in splits.items():
        title = f"{name} split, seed {seed}"
        _, figure = chemical_map(vectors, split.labels(data.ids), title=title)
        made[f"map-{name}-{seed}"] = (f"Chemical space, {title}", figure)
    return made


def _breakdowns(splits, results, frames, described, kind: str) -> Made:
    """Where the models err, one figure a split and seed."""
    made = {}
    data, vectors = described
    kinds = {Run(**r["run"]): kinds_of(r) for r in results}
    for (name, seed), split in splits.items():
        train, _, test = split.indices(data.ids)
        near = nearest_similarity(vectors, train, test)
        similarity = dict(zip(map(int, test), near, strict=True))
        here = [r for r in kinds if (r.split, r.seed) == (name, seed)]
        of = lambda wanted, here=here: {
            r.model: frames[r.name] for r in here if wanted in kinds[r]
        }
        main = of(kind).items()
        panels = {
            "number of atoms": {model: by_size(f, kind) for model, f in main},
            "similarity to training": {
                model: by_similarity(f, similarity, kind) for model, f in main
            },
            "total charge (e)": {model: by_charge(f, kind) for model, f in main},
            "element": {m: by_element(f, "force") for m, f in of("force").items()},
            "element of a charge": {
                m: by_element(f, "charge") for m, f in of("charge").items()
            },
        }
        title = f"{name} split, seed {seed}"
        caption = f"Test errors by kind of structure, {title}"
        made[f"breakdown-{name}-{seed}"] = (caption, breakdown(panels, title, kind))
    return made


def _parities(results, frames) -> Made:
    made = {}
    for result in results:
        run = Run(**result["run"])
        title = f"{run.model}, {run.split} split, seed {run.seed}"
        made[f"parity-{run.name}"] = (
            f"Test part, {title}",
            parity(frames[run.name], title, kinds_of(result)),
        )
        if run.has_charges and any(
            "label_charges" in f.arrays for f in frames[run.name]
        ):
            made[f"charges-{run.name}"] = (
                f"Charges of each element in the test part, {title}",
                charge_densities(frames[run.name], title),
            )
    return made


def _pictures(folder: Path, made: Made) -> list[dict[str, str]]:
    """Captions and pictures; each is also saved as a file."""
    place = folder / "figures"
    place.mkdir(exist_ok=True)
    for name, (_, figure) in made.items():
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=200)
        write_bytes(place / f"{name}.png", picture.getvalue())
    return [
        {"caption": caption, "source": as_data_url(figure), "name": name}
        for name, (caption, figure) in made.items()
    ]
