"""Loading potentials."""

import hashlib
import os
from pathlib import Path

from backbones import Potential, load

from bench.exceptions import BenchError, printable


def load_potential(path_or_name: str | os.PathLike) -> Potential:
    """Loads a trained potential, such as that of a run.

    Args:
        path_or_name: folder of a finished run, whose model has the weights of the best
            epoch, or a file of `backbones.save`. This release has no potentials that
            are loaded by name.

    Raises:
        BenchError: there is no such file or run, or the model cannot be read.

    Examples:
        >>> potential = bench.load_potential("runs/mine/random-mace-seed0")
        >>> predictions = bench.predict(potential, "mine.extxyz")
    """
    path = Path(path_or_name)
    if not path.exists():
        raise BenchError(
            f"There is no file or folder {path}, and this release of bench has no "
            "potentials by name: give the folder of a finished run, such as "
            "runs/quick/random-mace+les-seed0, or a file of `backbones.save`."
        )
    if path.is_dir() and not (path / "model.npz").is_file():
        raise BenchError(
            f"{path} is not the folder of a finished run (model.npz is missing): "
            "choose one such as runs/quick/random-mace+les-seed0."
        )
    if path.is_file() and path.suffix != ".npz":
        raise BenchError(
            f"{path} is no model (a folder of `bench run` or an .npz file); `bench md` "
            "takes structures with --structure."
        )
    try:
        return load(path)
    except (ValueError, OSError) as error:
        raise BenchError(printable(str(error))) from error


def file_digest(path: Path) -> str:
    """Returns a hash of the content of a file.

    Args:
        path: of the file.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
