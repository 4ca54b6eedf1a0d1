"""Error handling of the command line: one line on stderr and a non-zero status."""

import lzma
import sys
import zipfile
import zlib
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

USER_ERRORS = (
    OSError,
    ValueError,  # includes JSON and encoding errors
    TypeError,
    EOFError,
    MemoryError,
    RecursionError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors caused by files, arguments or the machine. Any other exception is a bug and is
shown with its traceback."""

# Base class of typer's usage errors, which typer does not export.
_USAGE_ERROR: Any = typer.BadParameter.__bases__[0]


class CommandError(Exception):
    """Error that is shown to the user as one line."""


class CommandGroup(TyperGroup):
    """Command group that turns `USER_ERRORS` into `CommandError`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command given by the arguments."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # stdout was closed, as by `| head`; typer ends the process
        except USER_ERRORS as error:
            raise CommandError(_message(error)) from error


def run_app(app: typer.Typer) -> NoReturn:
    """Run a command line and exit with its status.

    Parameters
    ----------
    app : typer.Typer
        Command line made with `cls=CommandGroup`.
    """
    status = 1
    try:
        status = app(standalone_mode=False) or 0
        if status == 130:  # returned by typer after an interrupt
            print_message("interrupted.")
    except CommandError as error:
        print_message(str(error))
    except _USAGE_ERROR as error:
        status = error.exit_code
        if len(sys.argv) < 2:
            typer.echo(error.format_message(), err=True)  # the help page
        else:
            path = error.ctx.command_path if error.ctx else "chemsplit"
            print_message(f"{error.format_message()} (See `{path} --help`.)")
    sys.exit(status)


def print_message(message: str) -> None:
    """Print one line to stderr, with control characters escaped.

    Parameters
    ----------
    message : str
        Text that may contain file names and ids from untrusted input.
    """
    line = " ".join(message.split())
    escaped = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    typer.echo(f"chemsplit: {escaped}", err=True)


def _message(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"Out of memory ({error}): describe fewer structures at a time."
    if isinstance(error, RecursionError):
        return "The input is nested too deeply."
    return str(error) or type(error).__name__
