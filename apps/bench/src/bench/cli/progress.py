"""Progress bar and result table on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from bench.labels import LABELS_BY_KIND, MAIN_KINDS, TRAINABLE_KINDS
from bench.settings.grid import Grid, Run


class Progress:
    """A progress bar on a terminal, otherwise one line per epoch.

    Args:
        grid: whose runs are counted.
    """

    def __init__(self, grid: Grid):
        self.console = Console()
        runs = grid.runs()
        epochs = [len(grid.training(run.backbone).schedule) for run in runs]
        self._epochs = {run.name: n for run, n in zip(runs, epochs, strict=True)}
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} epochs"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=sum(epochs))
        self._done = dict.fromkeys(self._epochs, 0)

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *_):
        self._bar.stop()

    def warn(self, line: str) -> None:
        """Prints a warning.

        Args:
            line: of text.
        """
        self.console.print(
            f"Warning: {line}", highlight=False, soft_wrap=True, markup=False
        )

    def update(self, run: Run, row: dict[str, Any] | None) -> None:
        """Shows an epoch; a `RunCallback`.

        Args:
            run: of the grid.
            row: metrics of the epoch; None if the run was finished before.
        """
        epochs = self._epochs[run.name]
        self._done[run.name] = epochs if row is None else row["epoch"]
        done = sum(self._done.values())
        self._bar.update(self._task, completed=done, description=run.name)
        if row is None:
            self.console.print(f"{run.name}: finished before", highlight=False)
            return
        errors = [
            f"{row[f'validation_{kind}_mae']:.1f} {LABELS_BY_KIND[kind].error_unit}"
            for kind in TRAINABLE_KINDS
            if row[f"validation_{kind}_mae"] is not None
        ]
        line = (
            f"{run.name}  epoch {row['epoch']:3d}/{epochs}  "
            f"validation {'  '.join(errors)}  {row['seconds']:.1f} s"
        )
        if not self.console.is_terminal:
            self.console.print(line, highlight=False, soft_wrap=True)
        elif row["epoch"] == epochs:
            self.console.print(line, highlight=False)


def results_table(results: Sequence[Mapping[str, Any]]) -> Table:
    """Returns a table of test errors and floors for the terminal.

    Args:
        results: content of the `result.json` files.
    """
    table = Table(title="mean absolute errors on the test sets (floor)")
    for heading in ("split", "model", "seed"):
        table.add_column(heading)
    for label in (LABELS_BY_KIND[kind] for kind in MAIN_KINDS):
        table.add_column(f"{label.symbol} {label.error_unit}", justify="right")
    for result in results:
        errors, floors = result["errors"]["test"], result["floors"]["test"]
        cells = [
            _cell(errors[f"{kind}_mae"], floors[f"{kind}_mae"]) for kind in MAIN_KINDS
        ]
        run = result["run"]
        table.add_row(run["split"], result["model"], str(run["seed"]), *cells)
    return table


def _cell(error: float | None, floor: float | None) -> str:
    if error is None:
        return "–"
    return f"{error:.1f}" + ("" if floor is None else f" ({floor:.0f})")
