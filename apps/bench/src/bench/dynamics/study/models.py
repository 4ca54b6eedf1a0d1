"""Trained models by path."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ase.data import chemical_symbols
from backbones import Potential

from bench.exceptions import BenchError
from bench.model.metadata import read_model_metadata
from bench.model.saved import file_digest, load_potential


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A trained potential, its name and its files.

    Args:
        name: name of the model in tables and folders.
        potential: potential energy in the precision of JAX.
        path: path of the file, or of the run's folder.
        digest: hash of the file's bytes.
        data: digest of the data on which it was trained; None for a file.
        split: digest of the split of these data; None for a file.
    """

    name: str
    potential: Potential
    path: Path
    digest: str
    data: str | None = None
    split: str | None = None

    @property
    def made_from(self) -> dict[str, str | None]:
        """Digests of the model and of its data and split."""
        return {"model": self.digest, "data": self.data, "split": self.split}


def open_models(paths: Sequence[Path]) -> list[Model]:
    """Opens the models of some paths.

    Args:
        paths: each the folder of `bench run` (all of its finished runs), the folder of
            one run, or a file of `backbones.save`.

    Raises:
        BenchError: a path is none of these, or a model is incomplete.
    """
    return [open_model(model) for path in paths for model in _model_paths(path)]


def _model_paths(path: Path) -> list[Path]:
    """Returns files and run folders of single models."""
    if path.is_file() or not (path / "config.yaml").is_file():
        return [path]
    runs = sorted(file.parent for file in path.glob("*/model.npz"))
    if not runs:
        raise BenchError(
            f"No run in {path} has finished: start or resume the grid with `bench run`."
        )
    return runs


def open_model(path: Path) -> Model:
    """Opens one model.

    Args:
        path: path of a file, or of the folder of a run.

    Raises:
        BenchError: it is neither, or the model is incomplete or has no forces.
    """
    potential = load_potential(path)
    if path.is_file():
        return Model(path.stem, potential, path, file_digest(path))
    run, metadata = read_model_metadata(path)
    if "force" not in metadata.get("kinds", ("force",)):
        raise BenchError(
            f"{path} was trained on {' and '.join(metadata['kinds'])} only, not on "
            "energies, forces or stress: it has no forces for a simulation."
        )
    digest = file_digest(path / "model.npz")
    split = metadata.get("split_digest")
    return Model(run.model, potential, path, digest, metadata["data"], split)


def with_unique_names(models: Sequence[Model]) -> list[Model]:
    """Returns the models with unique names, extended by folders where necessary.

    Args:
        models: models to simulate with the same structure.

    Raises:
        BenchError: one model is listed twice.
    """
    candidates = (
        [model.name for model in models],
        [model.path.resolve().name for model in models],
        ["-".join(model.path.resolve().parts[-2:]) for model in models],
    )
    for names in candidates:
        if len(set(names)) == len(names):
            return [
                dataclasses.replace(model, name=name)
                for model, name in zip(models, names, strict=True)
            ]
    longest = candidates[-1]
    duplicate = next(name for name in longest if longest.count(name) > 1)
    raise BenchError(f"Two models are called {duplicate!r}: list each model once.")


def check_elements(model: Model, name: str, numbers: Sequence[int]) -> None:
    """Raises an error if a structure contains elements without training data.

    Args:
        model: a trained model.
        name: name of the structure.
        numbers: atomic numbers.

    Raises:
        BenchError: there is such an element.
    """
    trained = {z for z, _ in model.potential.atomic_energies}
    unseen = sorted(set(numbers) - trained)
    if unseen:
        symbols = ", ".join(chemical_symbols[z] for z in unseen)
        raise BenchError(
            f"{model.name} was not trained on {symbols}, which {name} contains: choose "
            "another structure or model."
        )
