"""The files of a training: checkpoints to go on from, and the errors of its epochs."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backbones import read_arrays, read_header, write_arrays

from bench.dataset.provenance import KEY, check_provenance
from bench.exceptions import BenchError
from bench.files import write_text

LAST = "last.npz"
"""The state after the last finished epoch."""

BEST = "best.npz"
"""The averaged weights of the best epoch so far."""


class Checkpoints:
    """The checkpoints in the folder of one run.

    Args:
        folder: of the run.
        made_from: see `provenance`; files made from something else are refused.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any]):
        self.last, self.best = folder / LAST, folder / BEST
        self._folder = folder
        self._made_from = dict(made_from)

    def check(self) -> None:
        """Refuses checkpoints that belong to other data, splits or settings.

        Raises:
            BenchError: one does, or is damaged.
        """
        for path in (self.last, self.best):
            if path.exists():
                self._header(path)

    def save_last(self, state: Any, rows: list[dict[str, Any]]) -> None:
        """Writes the state after an epoch.

        Args:
            state: of training.
            rows: errors of the epochs so far.
        """
        facts = {"epoch": rows[-1]["epoch"], "rows": rows, KEY: self._made_from}
        write_arrays(self.last, state, facts)

    def save_best(self, average: Any, epoch: int) -> None:
        """Writes the averaged weights of the best epoch.

        Args:
            average: weights.
            epoch: its number, from 1.
        """
        write_arrays(self.best, average, {"epoch": epoch, KEY: self._made_from})

    def load_last[State](self, fresh: State) -> tuple[State, list[dict[str, Any]]]:
        """The state to go on from, and the rows of the epochs before it.

        Args:
            fresh: the state that a training begins with.

        Raises:
            BenchError: the checkpoint is damaged or belongs to something else.
        """
        if not self.last.exists():
            return fresh, []
        rows = self._header(self.last)["rows"]
        # `best.npz` may be one epoch ahead; the repeated epoch writes the same again.
        return self._arrays(self.last, fresh), rows

    def load_best[Weights](self, like: Weights) -> Weights:
        """The averaged weights of the best epoch.

        Args:
            like: weights of the same shapes.

        Raises:
            BenchError: there are none, or they are damaged or belong to something else.
        """
        if not self.best.exists():
            raise BenchError(
                f"{self.best} is missing, though {self.last.name} is there: delete "
                f"{self.last}, and the same command trains this run from its beginning."
            )
        self._header(self.best)
        return self._arrays(self.best, like)

    def _header(self, path: Path) -> dict[str, Any]:
        try:
            header = read_header(path)
        except ValueError as error:
            raise self._damaged(path) from error
        remedy = (
            "go back to what it was, choose another folder with --out, or delete "
            f"{self._folder}"
        )
        check_provenance(str(path), header.get(KEY), self._made_from, remedy)
        return header

    def _arrays[Tree](self, path: Path, like: Tree) -> Tree:
        try:
            return read_arrays(path, like)
        except ValueError as error:
            raise self._damaged(path) from error

    def _damaged(self, path: Path) -> BenchError:
        # Without the best weights the epochs before are lost, whatever the last are.
        files = self.last if path == self.last else f"{self.last} and {self.best}"
        return BenchError(
            f"{path} is damaged: delete {files}, and the same command trains this run "
            "from its beginning."
        )


def write_metrics(rows: list[dict[str, Any]], folder: Path) -> None:
    """Writes the errors of the epochs as `metrics.csv` and `metrics.jsonl`.

    Args:
        rows: one for each epoch.
        folder: of the run.
    """
    for name, write in (("metrics.csv", _as_csv), ("metrics.jsonl", _as_jsonl)):
        text = io.StringIO(newline="")
        write(rows, text)
        write_text(folder / name, text.getvalue())


def _as_csv(rows, file) -> None:
    table = csv.DictWriter(file, rows[0])
    table.writeheader()
    table.writerows(rows)


def _as_jsonl(rows, file) -> None:
    file.writelines(json.dumps(row) + "\n" for row in rows)
