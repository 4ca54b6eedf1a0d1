"""What was read, kept and left out."""

import collections
import dataclasses
from collections.abc import Iterable
from typing import Any

from bench.sources import Row

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
        open_stress: rows without a cell that have a stress, which is not used.
        names: what the source offers for its rows.
        kinds: what those are, as `number=name`, `word=name` or `array=name`.
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
    open_stress: int = 0
    names: set[str] = dataclasses.field(default_factory=set)
    kinds: set[str] = dataclasses.field(default_factory=set)
    origins: set[str] = dataclasses.field(default_factory=set)

    def offer(self, row: Row) -> None:
        """Notes the names that a source has for a row, and which of them are read.

        Args:
            row: of the source.
        """
        if len(self.names) >= MANY:
            return
        for name in set(row.names) - self.names:
            value = row.facts.get(name)
            kind = "array" if value is None else "number"
            self.kinds.add(f"{'word' if isinstance(value, str) else kind}={name}")
        self.names.update(row.names)
        self.origins.update(f"{k}={v}" for k, v in row.origins.items())

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
        sets = {k: set(values[k]) for k in ("names", "kinds", "origins")}
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
        found.open_stress += t.open_stress
        found.left_out.update(t.left_out)
        found.labels.update(t.labels)
        found.examples = (found.examples + t.examples)[:EXAMPLES]
        found.names |= t.names
        found.kinds |= t.kinds
        found.origins |= t.origins
    return found
