"""Unfinished preparations: a folder belongs to the inputs that it was begun with."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.dataset.differences import differences
from bench.dataset.prepared import UNFINISHED
from bench.exceptions import BenchError
from bench.files import write_text
from bench.settings.parsing import read_object
from bench.settings.preparation import PreparationSettings
from bench.sources import ROWS_PER_RANGE, Source

PARTS = "parts"
"""Folder of the parts that have been read."""

_FAILED = "failed"
"""Key in `preparation.json` that marks a preparation that stopped with an error."""

_OLD_NAME = "plan.json"
"""`preparation.json` in earlier versions, whose parts cannot be read."""


def preparation_inputs(request: PreparationSettings, source: Source) -> dict[str, Any]:
    """Returns everything that determines a prepared dataset, as JSON values.

    Args:
        request: arguments of the preparation.
        source: reader of its files, whose sizes and modification times are included.
    """
    stats = [(str(path), path.stat()) for path in source.files]
    return {
        "files": [[name, s.st_size, s.st_mtime_ns] for name, s in stats],
        "format": source.format,
        "rows_per_range": ROWS_PER_RANGE,
        "keys": dict(request.keys),
        "read": request.read.model_dump(mode="json", exclude={"format"}),
        "filters": request.filters.model_dump(mode="json"),
        "strict": request.strict,
    }


def claim_folder(out: Path, inputs: dict[str, Any]) -> None:
    """Reserves a folder for a preparation.

    The parts of an interrupted preparation are reused by the same inputs and protected
    from others. Those of a failed one are reused by the same inputs and deleted by
    others.

    Args:
        out: folder of the dataset.
        inputs: result of `preparation_inputs`.

    Raises:
        BenchError: the folder holds an unfinished preparation with other inputs.
        OSError: the folder cannot be written.
    """
    if (out / _OLD_NAME).exists():
        raise BenchError(
            f"{out} holds an unfinished preparation made by an older version: delete "
            "it and run `bench prepare` again."
        )
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    if (out / UNFINISHED).exists():
        previous = read_json(out / UNFINISHED)
        failed = previous.pop(_FAILED, False)
        if previous == inputs and not failed:
            return
        if previous != inputs and not failed:
            changes = differences(
                summary_of_inputs(previous), summary_of_inputs(inputs)
            )
            raise BenchError(
                f"{out} holds an unfinished preparation with other settings or files, "
                f"{changes}: choose another folder with --out, or delete it."
            )
        if previous != inputs:
            discard_parts(out)
            (out / PARTS).mkdir()
    write_text(out / UNFINISHED, json.dumps(inputs))


@contextlib.contextmanager
def release_on_failure(out: Path, inputs: dict[str, Any]) -> Iterator[None]:
    """Releases a claimed folder to other inputs if the block raises `BenchError`.

    An interruption does not release it.

    Args:
        out: folder of the dataset.
        inputs: of `claim_folder`.
    """
    try:
        yield
    except BenchError:
        with contextlib.suppress(OSError):
            if any((out / PARTS).iterdir()):
                write_text(out / UNFINISHED, json.dumps(inputs | {_FAILED: True}))
            else:
                discard_parts(out)
                out.rmdir()  # fails, as intended, if other files are in it
        raise


def discard_parts(out: Path) -> None:
    """Deletes the parts of a preparation and the record of its inputs.

    Args:
        out: folder of the dataset.
    """
    shutil.rmtree(out / PARTS, ignore_errors=True)
    (out / UNFINISHED).unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file in the folder of a dataset.

    Args:
        path: of the header or of the inputs.

    Raises:
        BenchError: the file is damaged.
    """
    return read_object(path, f"delete {path.parent} and prepare the data again.")


def summary_of_inputs(inputs: dict[str, Any]) -> dict[str, Any]:
    """Returns inputs with a hash of their files, for headers and messages.

    Args:
        inputs: result of `preparation_inputs`.
    """
    digest = digest_of_inputs({"files": inputs.get("files")})
    return inputs | {"files": f"hash of names, sizes and dates {digest}"}


def digest_of_inputs(inputs: dict[str, Any]) -> str:
    """Returns the hash of the inputs that the header of a dataset stores.

    Args:
        inputs: result of `preparation_inputs`.
    """
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
