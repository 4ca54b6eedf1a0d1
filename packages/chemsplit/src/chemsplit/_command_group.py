"""The edge of every command: errors end in one line and a non-zero status."""

import lzma
import sys
import zipfile
import zlib
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

EXPECTED = (
    OSError,
    ValueError,  # with those of JSON and of encodings
    TypeError,
    EOFError,
    MemoryError,
    RecursionError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What files, arguments and the machine cause. Anything else is a fault of the program
and keeps its traceback."""

# Errors of the argument parser, which has no public name for them.
_USAGE: Any = typer.BadParameter.__bases__[0]


class CommandError(Exception):
    """An expected error of a command."""


class CommandGroup(TyperGroup):
    """Commands whose expected errors are `CommandError`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of the output has left; typer ends the process
        except EXPECTED as error:
            raise CommandError(_sentence(error)) from error


def run_app(app: typer.Typer) -> NoReturn:
    """Run a command line and end the process.

    Parameters
    ----------
    app : typer.Typer
        Made with `cls=CommandGroup`.
    """
    status = 1
    try:
        status = app(standalone_mode=False) or 0
        if status == 130:  # typer's answer to an interrupt
            say("stopped.")
    except CommandError as error:
        say(str(error))
    except _USAGE as error:
        status = error.exit_code
        if len(sys.argv) < 2:
            typer.echo(error.format_message(), err=True)  # the help
        else:
            path = error.ctx.command_path if error.ctx else "chemsplit"
            say(f"{error.format_message()} (`{path} --help` has all options.)")
    sys.exit(status)


def say(message: str) -> None:
    """Print one line to standard error, with what a terminal would obey written out.

    Parameters
    ----------
    message : str
        It may hold names that others chose.
    """
    line = " ".join(message.split())
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    typer.echo(f"chemsplit: {shown}", err=True)


def _sentence(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"Too little memory ({error}): describe fewer structures at a time."
    if isinstance(error, RecursionError):
        return "The input is nested too deeply."
    return str(error) or type(error).__name__
