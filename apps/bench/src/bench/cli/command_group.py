"""Error handling of all commands: one-line messages and a non-zero exit status."""

import lzma
import sys
import zipfile
import zlib
from opcode import opmap
from typing import Any, NoReturn

import typer
import yaml
from typer.core import TyperGroup

from bench.exceptions import BenchError, Interrupted, one_line, printable

EXPECTED = (
    OSError,
    ValueError,  # includes JSON and Unicode errors
    EOFError,
    MemoryError,
    RecursionError,
    yaml.YAMLError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions that files, arguments and the machine cause. All others are errors in the
program and keep their traceback."""

_PACKAGES = ("bench", "backbones", "chemsplit", "lr_celli", "lr_efa", "lr_les")
"""Packages whose messages are helpful without a source location."""

_USAGE: Any = typer.BadParameter.__bases__[0]
"""Base class of usage errors, which typer does not export."""


class CommandGroup(TyperGroup):
    """Converts expected exceptions of all commands to `BenchError`."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command.

        Args:
            ctx: context with the arguments.

        Raises:
            BenchError: for everything in `EXPECTED`.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted.") from error
        except BrokenPipeError:
            raise  # the reader of a pipe has closed it; typer exits
        except EXPECTED as error:
            raise BenchError(_message(error)) from error


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        names = [str(n) for n in (error.filename, error.filename2) if n is not None]
        return f"{' and '.join(names)}: {error.strerror or type(error).__name__}."
    if isinstance(error, MemoryError):
        return f"too little memory ({one_line(error)}): use less data at a time."
    if isinstance(error, RecursionError):
        return "the input is nested too deeply."
    message = one_line(error)
    if not isinstance(error, ValueError):
        message = f"{type(error).__name__}: {message}"
    return f"{message.rstrip('.')}{_location(error)}."


def _location(error: BaseException) -> str:
    """Returns the last source line of our packages, empty if they raised the error.

    An error that a library raised may be a mistake in our code.
    """
    traceback, location, raised_here = error.__traceback__, "", True
    while traceback is not None:
        name = str(traceback.tb_frame.f_globals.get("__name__"))
        raised_here = name.split(".")[0] in _PACKAGES
        if raised_here:
            location = f" (at {name}:{traceback.tb_lineno})"
            # Compiled code has no frames, so that its caller has the last one.
            raised_here = (
                traceback.tb_frame.f_code.co_code[traceback.tb_lasti]
                == opmap["RAISE_VARARGS"]
            )
        traceback = traceback.tb_next
    return "" if raised_here else location


def run_app(app: typer.Typer) -> NoReturn:
    """Runs the program and exits.

    Args:
        app: made with `cls=CommandGroup`.
    """
    try:
        status = app(standalone_mode=False)
    except BenchError as error:
        _exit(str(error), error.status)
    except _USAGE as error:
        message = error.format_message().replace("Value error, ", "")
        if error.ctx is None or not error.ctx.command_path:
            _exit(message, error.exit_code)
        _exit(
            f"{message} (See `{error.ctx.command_path} --help`.)",
            error.exit_code,
        )
    sys.exit(status or 0)


def _exit(message: str, status: int) -> NoReturn:
    typer.echo(f"bench: {printable(message)}", err=True)
    sys.exit(status)
