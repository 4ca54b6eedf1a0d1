"""The edge of every command: errors end in one line and a non-zero status."""

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
    ValueError,  # with those of JSON and of encodings
    EOFError,
    MemoryError,
    RecursionError,
    yaml.YAMLError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What files, arguments and the machine cause. Anything else is a fault of the program
and keeps its traceback."""

_PACKAGES = ("bench", "backbones", "chemsplit", "lr_celli", "lr_efa", "lr_les")
"""Packages whose own messages say what to do, and need no place."""

_USAGE: Any = typer.BadParameter.__bases__[0]
"""Errors of the argument parser, which has no public name for them."""


class CommandGroup(TyperGroup):
    """Commands whose expected errors are `BenchError`."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that the arguments name.

        Args:
            ctx: with the arguments.

        Raises:
            BenchError: for everything in `EXPECTED`.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted.") from error
        except BrokenPipeError:
            raise  # the reader of the output has left; typer ends the process
        except EXPECTED as error:
            raise BenchError(_sentence(error)) from error


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        names = [str(n) for n in (error.filename, error.filename2) if n is not None]
        return f"{' and '.join(names)}: {error.strerror or type(error).__name__}."
    if isinstance(error, MemoryError):
        return f"too little memory ({one_line(error)}): use less data at a time."
    if isinstance(error, RecursionError):
        return "the input is nested too deeply."
    said = one_line(error)
    if not isinstance(error, ValueError):
        said = f"{type(error).__name__}: {said}"
    return f"{said.rstrip('.')}{_place(error)}."


def _place(error: BaseException) -> str:
    """Where an error was met that no `raise` of ours made, for it may be our fault."""
    tb, place, ours = error.__traceback__, "", True
    while tb is not None:
        name = str(tb.tb_frame.f_globals.get("__name__"))
        ours = name.split(".")[0] in _PACKAGES
        if ours:
            place = f" (met at {name}:{tb.tb_lineno})"
            # Compiled code has no frame of its own: its caller seems to be the last.
            ours = tb.tb_frame.f_code.co_code[tb.tb_lasti] == opmap["RAISE_VARARGS"]
        tb = tb.tb_next
    return "" if ours else place


def run_app(app: typer.Typer) -> NoReturn:
    """Runs a command line and ends the process.

    Args:
        app: made with `cls=CommandGroup`.
    """
    try:
        status = app(standalone_mode=False)
    except BenchError as error:
        _fail(str(error), error.status)
    except _USAGE as error:
        if error.ctx is None or not error.ctx.command_path:
            _fail(error.format_message(), error.exit_code)
        _fail(
            f"{error.format_message()} (`{error.ctx.command_path} --help` has all "
            "options.)",
            error.exit_code,
        )
    sys.exit(status or 0)


def _fail(message: str, status: int) -> NoReturn:
    typer.echo(f"bench: {printable(message)}", err=True)
    sys.exit(status)
