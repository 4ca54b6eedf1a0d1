"""What is being prepared in a folder, so that only the same request goes on there."""

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.dataset.prepared import PLAN
from bench.dataset.request import Order
from bench.exceptions import BenchError
from bench.files import write_text
from bench.settings.parsing import read_object
from bench.sources import BLOCK, Source

PARTS = "parts"
"""Folder of what has been read."""

_FAILED = "failed"
"""Entry of a plan whose preparation ended with an error."""


def make_plan(order: Order, source: Source) -> dict[str, Any]:
    """All that decides the result: the files as they are now, and what is asked.

    Args:
        order: what to prepare.
        source: its reader.
    """
    stats = [(str(path), path.stat()) for path in source.files]
    return {
        "files": [[name, s.st_size, s.st_mtime_ns] for name, s in stats],
        "format": source.format,
        "block": BLOCK,
        "reading": dataclasses.asdict(order.reading),
        "filters": json.loads(json.dumps(dataclasses.asdict(order.filters))),
        "strict": order.strict,
    }


def claim(out: Path, plan: dict[str, Any]) -> None:
    """Makes a folder that of a plan, unless another one is unfinished there.

    A preparation that was interrupted keeps its folder. One that failed keeps it for
    the same plan only: any other one starts anew.

    Args:
        out: folder of the data set.
        plan: as `make_plan` gives it.

    Raises:
        BenchError: another plan is unfinished there.
        OSError: it cannot be written.
    """
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    if (out / PLAN).exists():
        found = noted(out / PLAN)
        failed = found.pop(_FAILED, False)
        if found == plan and not failed:
            return
        if found != plan and not failed:
            raise BenchError(
                f"{out} holds the beginning of another preparation: its files, names "
                "or filters differ; choose another folder with --out, or delete it."
            )
        if found != plan:
            discard_parts(out)
            (out / PARTS).mkdir()
    write_text(out / PLAN, json.dumps(plan))


@contextlib.contextmanager
def reclaimable(out: Path, plan: dict[str, Any]) -> Iterator[None]:
    """Leaves a folder open to other plans if what is done in it fails.

    An interruption is no failure.

    Args:
        out: folder of the data set.
        plan: that was claimed.
    """
    try:
        yield
    except BenchError:
        with contextlib.suppress(OSError):
            if any((out / PARTS).iterdir()):
                write_text(out / PLAN, json.dumps(plan | {_FAILED: True}))
            else:
                discard_parts(out)
                out.rmdir()  # stays where it holds anything else
        raise


def discard_parts(out: Path) -> None:
    """Deletes the plan and what was read for it.

    Args:
        out: folder of the data set.
    """
    shutil.rmtree(out / PARTS, ignore_errors=True)
    (out / PLAN).unlink(missing_ok=True)


def noted(path: Path) -> dict[str, Any]:
    """The plan or the header in the folder of a data set.

    Args:
        path: of the file.

    Raises:
        BenchError: it is damaged.
    """
    return read_object(path, f"delete {path.parent} and prepare the data again.")


def digest_of_plan(plan: dict[str, Any]) -> str:
    """What a header says of the plan that it was made by.

    Args:
        plan: as `make_plan` gives it.
    """
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]
