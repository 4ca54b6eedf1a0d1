"""Loading the trained potential of a run."""

import hashlib
import os
from pathlib import Path

from backbones import Potential
from backbones import load as load_model

from bench.exceptions import BenchError
from bench.model.building import build_layers
from bench.model.metadata import read_model_metadata


def load_potential(folder: str | os.PathLike) -> Potential:
    """Loads the trained potential of a run, with the weights of the best epoch.

    Args:
        folder: of the run, with `result.json` and `model.npz`.

    Raises:
        BenchError: there is no finished run, or its model cannot be read.

    Examples:
        >>> from backbones import Calculator
        >>> potential = bench.load_potential("runs/mine/random-mace-seed0")
        >>> calculator = Calculator(potential, total_charge=0.0)
    """
    path = Path(folder)
    for name in ("result.json", "model.npz"):
        if not (path / name).is_file():
            raise BenchError(
                f"{path} is not the folder of a finished run ({name} is missing): "
                "choose one such as runs/quick/random-mace+les-seed0."
            )
    run, settings, _ = read_model_metadata(path)
    try:
        layers, _ = build_layers(settings, run)
        return load_model(path / "model.npz", long_range=layers)
    except (ValueError, OSError) as error:
        raise BenchError(f"The model in {path} cannot be read: {error}") from error


def file_digest(path: Path) -> str:
    """Returns a hash of the content of a file.

    Args:
        path: of the file.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
