"""What is to be prepared, and which share of it."""

import dataclasses
from pathlib import Path
from typing import Literal, NamedTuple

from bench.dataset.atomic_energies import ATOMS, read_atomic_energies
from bench.dataset.filters import Filters
from bench.exceptions import BenchError
from bench.sources import Reading


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be prepared.

    Args:
        source: a file, a folder or a pattern.
        reading: names and units of labels.
        filters: what is kept.
        format: where names of files do not tell it.
        strict: whether a row that cannot be used is an error.
        atomic_energies: path of a YAML file, or `"atoms"` for the energies of isolated
            atoms in the source; None leaves them to be fitted to the training part.
    """

    source: str
    reading: Reading = Reading()
    filters: Filters = Filters()
    format: str | None = None
    strict: bool = False
    atomic_energies: str | None = None


class Shard(NamedTuple):
    """One of several jobs that prepare one source together; counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From `3/8`.

        Args:
            text: number and count.

        Raises:
            BenchError: not two whole numbers, or the first is not among the second.
        """
        number, _, of = text.partition("/")
        if number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of):
            return cls(int(number), int(of))
        raise BenchError(f"A shard is written 1/8, 2/8, ... 8/8; got {text!r}.")


def requested_atomic_energies(
    order: Order,
) -> dict[int, float] | Literal["atoms"] | None:
    """The atomic energies that are asked for: given, of isolated atoms, or fitted.

    Args:
        order: what is to be prepared.

    Raises:
        BenchError: the file cannot be used.
    """
    if order.atomic_energies is None or order.atomic_energies == ATOMS:
        return order.atomic_energies
    return read_atomic_energies(Path(order.atomic_energies))
