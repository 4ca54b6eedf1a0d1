"""Functions that are called with the progress of a long computation."""

from typing import Protocol


class Callback[*Arguments](Protocol):
    """A function that receives the progress of a computation and returns nothing.

    The type parameters are its positional arguments: `Callback[Run, Row]` is called
    as `callback(run, row)`.
    """

    def __call__(self, *arguments: *Arguments) -> None:
        """Handles one report of progress."""
