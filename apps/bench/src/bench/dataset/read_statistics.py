"""Statistics of reading a source: rows read, accepted, left out and rejected."""

import collections
import dataclasses
from collections.abc import Iterable
from typing import Any

from bench.sources import Row

MAX_EXAMPLES = 5
"""Number of rejected rows listed by name; all of them are counted."""

MAX_KEYS = 500
"""Number of keys of the source after which no more are collected."""


@dataclasses.dataclass
class ReadStatistics:
    """Counts of rows by outcome, and the keys that the source has.

    Args:
        read: rows of the source.
        accepted: rows that passed all checks and filters.
        left_out: rows by the filter that removed them.
        rejected: rows that cannot be used.
        examples: location and reason of the first rejected rows.
        labels: accepted rows by label.
        zero_force_structures: accepted rows of at least two atoms whose forces are all
            exactly zero.
        stress_without_cell: rows without a cell that have a stress, which is ignored.
        available_keys: keys of all values in the source.
        key_types: their types, as `number=KEY`, `text=KEY` or `array=KEY`.
        label_keys: keys that labels were read from, as `LABEL=KEY`.
    """

    read: int = 0
    accepted: int = 0
    left_out: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    rejected: int = 0
    examples: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    labels: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    zero_force_structures: int = 0
    stress_without_cell: int = 0
    available_keys: set[str] = dataclasses.field(default_factory=set)
    key_types: set[str] = dataclasses.field(default_factory=set)
    label_keys: set[str] = dataclasses.field(default_factory=set)

    def add_keys(self, row: Row) -> None:
        """Adds the keys that the source has for a row.

        Args:
            row: as read from the source.
        """
        if len(self.available_keys) >= MAX_KEYS:
            return
        for key in set(row.available_keys) - self.available_keys:
            self.key_types.add(f"{_type_of(row.info.get(key))}={key}")
        self.available_keys.update(row.available_keys)
        self.label_keys.update(f"{k}={v}" for k, v in row.label_keys.items())

    def reject(self, location: str, reason: str) -> None:
        """Counts a row that cannot be used.

        Args:
            location: file and index of the row, or its id.
            reason: short text for messages.
        """
        self.rejected += 1
        self.examples = [*self.examples, (location, reason)][:MAX_EXAMPLES]

    def to_json(self) -> dict[str, Any]:
        """Returns all fields as values that JSON can store."""
        return {
            k: sorted(v) if isinstance(v, set) else v for k, v in vars(self).items()
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ReadStatistics":
        """Restores the statistics from `to_json`.

        Args:
            values: all fields by name.
        """
        counters = {k: collections.Counter(values[k]) for k in ("left_out", "labels")}
        key_sets = ("available_keys", "key_types", "label_keys")
        sets = {k: set(values[k]) for k in key_sets}
        examples = [(location, reason) for location, reason in values["examples"]]
        return cls(**{**values, **counters, **sets, "examples": examples})


def combined(statistics: Iterable[ReadStatistics]) -> ReadStatistics:
    """Returns the sum of the statistics of several parts.

    Args:
        statistics: one entry per part, in the order of the source.
    """
    sums = ReadStatistics()
    for part in statistics:
        sums.read += part.read
        sums.accepted += part.accepted
        sums.rejected += part.rejected
        sums.zero_force_structures += part.zero_force_structures
        sums.stress_without_cell += part.stress_without_cell
        sums.left_out.update(part.left_out)
        sums.labels.update(part.labels)
        sums.examples = (sums.examples + part.examples)[:MAX_EXAMPLES]
        sums.available_keys |= part.available_keys
        sums.key_types |= part.key_types
        sums.label_keys |= part.label_keys
    return sums


def _type_of(value: Any) -> str:
    """Returns the type of a value; arrays are not among the scalars of a row."""
    if value is None:
        return "array"
    return "text" if isinstance(value, str) else "number"
