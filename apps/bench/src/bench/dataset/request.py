"""The shard that one job of a preparation reads, and its atomic energies."""

from pathlib import Path
from typing import Literal, NamedTuple

from bench.dataset.atomic_energies import ATOMS, read_atomic_energies
from bench.exceptions import BenchError
from bench.settings.preparation import PreparationSettings


class Shard(NamedTuple):
    """The share of one of several jobs that read one source in parallel.

    Args:
        number: index of the job, from 1.
        total: number of jobs.
    """

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parses a shard from text such as `3/8`.

        Args:
            text: `NUMBER/TOTAL`.

        Raises:
            BenchError: not two integers with 1 <= NUMBER <= TOTAL.
        """
        number, _, total = text.partition("/")
        if number.isdigit() and total.isdigit() and 1 <= int(number) <= int(total):
            return cls(int(number), int(total))
        raise BenchError(f"A shard is written 1/8, 2/8, ... 8/8; got {text!r}.")


def requested_atomic_energies(
    request: PreparationSettings,
) -> dict[int, float] | Literal["atoms"] | None:
    """Returns the atomic energies of a request, read from their file if they have one.

    Args:
        request: arguments of the preparation.

    Returns:
        eV by atomic number; `"atoms"` or None as in the request.

    Raises:
        BenchError: the file cannot be used.
    """
    if request.atomic_energies is None or request.atomic_energies == ATOMS:
        return request.atomic_energies
    return read_atomic_energies(Path(request.atomic_energies))
