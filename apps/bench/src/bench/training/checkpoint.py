"""Files of a training run: checkpoints and the metrics of its epochs."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backbones import read_arrays, read_header, write_arrays

from bench.dataset.provenance import PROVENANCE_KEY, check_provenance
from bench.exceptions import BenchError
from bench.files import write_text

LAST = "last.npz"
"""The state after the last finished epoch."""

BEST = "best.npz"
"""The averaged weights of the best epoch so far."""


class Checkpoints:
    """The checkpoints in the folder of a run.

    Args:
        folder: of the run.
        made_from: provenance of the run; checkpoints of other inputs are rejected.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any]):
        self.last, self.best = folder / LAST, folder / BEST
        self._folder = folder
        self._made_from = dict(made_from)

    def check(self) -> None:
        """Checks that existing checkpoints have the provenance of this run.

        Raises:
            BenchError: a checkpoint belongs to other data, another split or other
                settings, or is damaged.
        """
        for path in (self.last, self.best):
            if path.exists():
                self._header(path)

    def save_last(self, state: Any, rows: list[dict[str, Any]]) -> None:
        """Writes the state after an epoch.

        Args:
            state: training state, a tree of arrays.
            rows: metrics of the epochs so far.
        """
        header = {
            "epoch": rows[-1]["epoch"],
            "rows": rows,
            PROVENANCE_KEY: self._made_from,
        }
        write_arrays(self.last, state, header)

    def save_best(self, average: Any, epoch: int) -> None:
        """Writes the averaged weights of the best epoch.

        Args:
            average: averaged weights.
            epoch: its number, from 1.
        """
        write_arrays(
            self.best, average, {"epoch": epoch, PROVENANCE_KEY: self._made_from}
        )

    def load_last[State](self, initial: State) -> tuple[State, list[dict[str, Any]]]:
        """Returns the last state and the metrics of the epochs before it.

        Args:
            initial: state before the first epoch, returned if there is no checkpoint.

        Raises:
            BenchError: the checkpoint is damaged or has another provenance.
        """
        if not self.last.exists():
            return initial, []
        rows = self._header(self.last)["rows"]
        # `best.npz` may be one epoch ahead; repeating the epoch writes it again.
        return self._arrays(self.last, initial), rows

    def load_best[Weights](self, like: Weights) -> Weights:
        """Returns the averaged weights of the best epoch.

        Args:
            like: weights of the same shapes.

        Raises:
            BenchError: the checkpoint is missing, damaged or has another provenance.
        """
        if not self.best.exists():
            raise BenchError(
                f"{self.best} is missing although {self.last.name} exists: delete "
                f"{self.last}, and the same command trains this run from the beginning."
            )
        self._header(self.best)
        return self._arrays(self.best, like)

    def _header(self, path: Path) -> dict[str, Any]:
        try:
            header = read_header(path)
        except ValueError as error:
            raise self._damaged(path) from error
        remedy = (
            "restore the earlier ones, choose another folder with --out, or delete "
            f"{self._folder}"
        )
        check_provenance(str(path), header.get(PROVENANCE_KEY), self._made_from, remedy)
        return header

    def _arrays[Tree](self, path: Path, like: Tree) -> Tree:
        try:
            return read_arrays(path, like)
        except ValueError as error:
            raise self._damaged(path) from error

    def _damaged(self, path: Path) -> BenchError:
        # A damaged best.npz cannot be recovered from last.npz.
        files = self.last if path == self.last else f"{self.last} and {self.best}"
        return BenchError(
            f"{path} is damaged: delete {files}, and the same command trains this run "
            "from the beginning."
        )


def write_metrics(rows: list[dict[str, Any]], folder: Path) -> None:
    """Writes the metrics of the epochs as `metrics.csv` and `metrics.jsonl`.

    Args:
        rows: one per epoch.
        folder: of the run.
    """
    writers = {"metrics.csv": _write_csv, "metrics.jsonl": _write_jsonl}
    for name, write in writers.items():
        text = io.StringIO(newline="")
        write(rows, text)
        write_text(folder / name, text.getvalue())


def _write_csv(rows, file) -> None:
    table = csv.DictWriter(file, rows[0])
    table.writeheader()
    table.writerows(rows)


def _write_jsonl(rows, file) -> None:
    file.writelines(json.dumps(row) + "\n" for row in rows)
