"""One unit of a source, read and kept aside until all of them are there."""

import collections
import dataclasses
import io
import json
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ._columns import Columns, pack
from ._errors import BenchError, in_short
from ._recipes import Filters
from ._sources import LABELS, Rejected, Source, Unit
from ._writing import write_bytes

EXAMPLES = 5
"""Rejected rows and left-out ids that are named; all are counted."""

MANY = 500
"""Names of values from which no further ones are collected."""


@dataclasses.dataclass
class Tally:
    """What was read, kept and left out, and why.

    Args:
        read: rows of the source.
        kept: rows that went on.
        left_out: rows by the filter that left them out.
        rejected: rows that cannot be used.
        examples: where some of those are, and why.
        labels: kept rows that have each label.
        still: kept rows of several atoms whose forces are all exactly zero.
        names: what the source offers for its rows.
        origins: what labels are called there, as `label=name`.
    """

    read: int = 0
    kept: int = 0
    left_out: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    rejected: int = 0
    examples: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    labels: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    still: int = 0
    names: set[str] = dataclasses.field(default_factory=set)
    origins: set[str] = dataclasses.field(default_factory=set)

    def reject(self, where: str, why: str) -> None:
        """Counts a row that cannot be used, and names it if few are named yet.

        Args:
            where: the row.
            why: in a few words.
        """
        self.rejected += 1
        self.examples = [*self.examples, (where, why)][:EXAMPLES]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            k: sorted(v) if isinstance(v, set) else v for k, v in vars(self).items()
        }

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> "Tally":
        """Back from `to_json`.

        Args:
            values: of all fields.
        """
        counters = {k: collections.Counter(values[k]) for k in ("left_out", "labels")}
        sets = {k: set(values[k]) for k in ("names", "origins")}
        examples = [(where, why) for where, why in values["examples"]]
        return cls(**{**values, **counters, **sets, "examples": examples})


def total(tallies: Iterable[Tally]) -> Tally:
    """All of several tallies.

    Args:
        tallies: in the order of the source.
    """
    found = Tally()
    for t in tallies:
        found.read += t.read
        found.kept += t.kept
        found.rejected += t.rejected
        found.still += t.still
        found.left_out.update(t.left_out)
        found.labels.update(t.labels)
        found.examples = (found.examples + t.examples)[:EXAMPLES]
        found.names |= t.names
        found.origins |= t.origins
    return found


def units_of(source: Source) -> list[Unit]:
    """The units of a source, at least one.

    Args:
        source: which reader.

    Raises:
        BenchError: a file cannot be read, or there are no structures.
    """
    some = ", ".join(str(path) for path in source.files[:3])
    try:
        units = source.units()
    except BenchError:
        raise
    except Exception as error:  # a damaged file runs its reader into anything
        raise _unreadable(source, some, error) from error
    if not units:
        raise BenchError(f"{some}: there are no structures; give labelled ones.")
    return units


def read_unit(
    source: Source, unit: Unit, filters: Filters, strict: bool
) -> tuple[Columns, Tally]:
    """The rows of a unit that filters keep, as columns.

    Args:
        source: which reader.
        unit: one of its units.
        filters: conditions on one row.
        strict: whether a row that cannot be used is an error.

    Raises:
        BenchError: the file cannot be read, or, if strict, a row cannot be used.
    """
    rows, tally = [], Tally()
    with warnings.catch_warnings():
        # Readers warn of what the checks of a row find anyway.
        warnings.simplefilter("ignore")
        try:
            for row in source.rows(unit):
                tally.read += 1
                if isinstance(row, Rejected):
                    if strict:
                        raise BenchError(f"{row.where}: {row.why}; remove or mend it.")
                    tally.reject(*row)
                    continue
                if len(tally.names) < MANY:
                    tally.names.update(row.names)
                    tally.origins.update(f"{k}={v}" for k, v in row.origins.items())
                row = filters.trimmed(row)
                why = filters.complaint(row)
                if why is not None:
                    tally.left_out[why] += 1
                    continue
                rows.append(row)
                tally.kept += 1
                tally.labels.update(k for k in LABELS if getattr(row, k) is not None)
                still = row.forces is not None and len(row) > 1 and not row.forces.any()
                tally.still += bool(still)
        except BenchError:
            raise
        except Exception as error:  # a damaged file runs its reader into anything
            raise _unreadable(source, unit.path, error) from error
        return pack(rows), tally


def _unreadable(source: Source, path: str, error: Exception) -> BenchError:
    return BenchError(
        f"{path} cannot be read as {source.format} ({type(error).__name__}: "
        f"{in_short(error)}): it is damaged or of another format."
    )


def save_part(path: Path, columns: Columns, tally: Tally) -> None:
    """Writes a part; it is there whole or not at all.

    Args:
        path: of the part.
        columns: of the rows that were kept.
        tally: of the unit.
    """
    letters = json.dumps(tally.to_json()).encode()
    content = io.BytesIO()
    np.savez(content, **columns.arrays, tally=np.frombuffer(letters, np.uint8))  # pyright: ignore[reportArgumentType]
    write_bytes(path, content.getvalue())


def load_part(path: Path) -> Columns:
    """The columns of a part.

    Args:
        path: of a part.

    Raises:
        BenchError: it is damaged.
    """
    return Columns(_loaded(path, lambda name: name != "tally"))


def load_tally(path: Path) -> Tally:
    """What was read and left out when a part was made.

    Args:
        path: of a part.

    Raises:
        BenchError: it is damaged.
    """
    letters = _loaded(path, lambda name: name == "tally")["tally"]
    return Tally.of_json(json.loads(letters.tobytes()))


def _loaded(path: Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    try:
        # Opened here, for numpy leaves a damaged file open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if wanted(name)}
    except Exception as error:  # zip files are damaged in many ways
        raise BenchError(
            f"{path} is damaged ({in_short(error)}): delete it and run the same "
            "command again."
        ) from error
