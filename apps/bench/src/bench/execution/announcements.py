"""What a command is about to do, said before it takes its time."""

import multiprocessing
import sys

import typer


def announce(text: str) -> None:
    """One line on standard output, at once, terminal or not.

    Args:
        text: what begins, such as `reading ions`.
    """
    # A process of its own would write across the bar of the one with the terminal.
    if multiprocessing.parent_process() is None or not sys.stdout.isatty():
        typer.echo(text)
