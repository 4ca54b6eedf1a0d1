"""What a person sees while a grid runs."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from bench.settings.grid import Grid, Run


class Progress:
    """A bar on a terminal; elsewhere one plain line an epoch."""

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
        self._began = time.perf_counter()

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *_):
        self._bar.stop()

    def warn(self, sentence: str) -> None:
        """Prints a likely mistake in the data.

        Args:
            sentence: on one line.
        """
        self.console.print(
            f"Warning: {sentence}", highlight=False, soft_wrap=True, markup=False
        )

    def tell(self, run: Run, row: dict[str, Any] | None) -> None:
        """One epoch of a run is over, or the run was finished before."""
        epochs = self._epochs[run.name]
        self._done[run.name] = epochs if row is None else row["epoch"]
        done = sum(self._done.values())
        self._bar.update(self._task, completed=done, description=run.name)
        if row is None:
            self.console.print(f"{run.name}: finished before, kept", highlight=False)
            return
        units = {
            "energy": "meV/atom",
            "force": "meV/Å",
            "stress": "meV/Å³",
            "charge": "me",
            "dipole": "me Å",
        }
        errors = [
            f"{row[f'validation_{kind}_mae']:.1f} {unit}"
            for kind, unit in units.items()
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
    """Test errors beside their floors, narrow enough for a terminal.

    Args:
        results: as in `result.json`.
    """
    table = Table(title="mean absolute errors on the test parts (floor)")
    for heading in ("split", "model", "seed"):
        table.add_column(heading)
    for heading in ("E meV/atom", "F meV/Å", "Q me"):
        table.add_column(heading, justify="right")
    for result in results:
        errors, floors = result["errors"]["test"], result["floors"]["test"]
        cells = [
            _cell(errors[f"{kind}_mae"], floors[f"{kind}_mae"])
            for kind in ("energy", "force", "charge")
        ]
        run = result["run"]
        table.add_row(run["split"], result["model"], str(run["seed"]), *cells)
    return table


def _cell(error: float | None, floor: float | None) -> str:
    if error is None:
        return "–"
    return f"{error:.1f}" + ("" if floor is None else f" ({floor:.0f})")
