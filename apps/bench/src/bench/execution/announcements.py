"""Messages printed before long operations."""

import multiprocessing
import sys

import typer


def announce(text: str) -> None:
    """Prints a line to standard output immediately.

    Worker processes print only if the output is not a terminal.

    Args:
        text: operation that starts, such as `reading ions`.
    """
    # On a terminal, a worker would overwrite the progress bar of the main process.
    if multiprocessing.parent_process() is None or not sys.stdout.isatty():
        typer.echo(text)
