"""Trained models by path."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ase.data import chemical_symbols
from backbones import Potential, load

from bench.exceptions import BenchError, one_line
from bench.model.facts import read_model_metadata
from bench.model.saved import file_digest, load_potential


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A potential with a name.

    Args:
        name: for tables and folders.
        potential: in the precision JAX runs in.
        path: of the file, or of the run's folder with structures it was tested on.
        digest: of the file's bytes.
        data: digest of what it was trained on; None for a file.
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
        """Digests of the model, and of the data and the split it was trained on."""
        return {"model": self.digest, "data": self.data, "split": self.split}


def open_models(paths: Sequence[Path]) -> list[Model]:
    """The models of some paths.

    Args:
        paths: each the folder of `bench run` (all of its finished models), that of one
            of its runs, or a file of `backbones.save` without long-range layers.

    Raises:
        BenchError: a path is none of these, or a model is incomplete.
    """
    return [open_model(place) for path in paths for place in _places(path)]


def _places(path: Path) -> list[Path]:
    """Files and folders of single models."""
    if path.is_file() or not (path / "config.yaml").is_file():
        return [path]
    found = sorted(file.parent for file in path.glob("*/model.npz"))
    if not found:
        raise BenchError(f"No run in {path} is finished: go on with `bench run`.")
    return found


def open_model(path: Path) -> Model:
    """One model.

    Args:
        path: of a file, or the folder of a run.

    Raises:
        BenchError: it is neither, or incomplete.
    """
    if path.is_file():
        return Model(path.stem, _from_file(path), path, file_digest(path))
    potential = load_potential(path)
    run, _, found = read_model_metadata(path)
    if "force" not in found.get("kinds", ("force",)):
        raise BenchError(
            f"{path} learned no energies, forces or stress, but "
            f"{' and '.join(found['kinds'])} alone: it has no forces to simulate with."
        )
    digest = file_digest(path / "model.npz")
    split = found.get("split_digest")
    return Model(run.model, potential, path, digest, found["data"], split)


def _from_file(path: Path) -> Potential:
    if path.suffix != ".npz":
        raise BenchError(
            f"{path} is no model, which is a folder of `bench run` or an .npz file; "
            "structures are named with --structure."
        )
    try:
        return load(path)
    except ValueError as error:
        raise BenchError(
            f"{one_line(error)} A model with long-range layers is opened by the folder "
            "of its run."
        ) from error


def told_apart(models: Sequence[Model]) -> list[Model]:
    """The same models with names that differ: by folder, and its parent, if need be.

    Args:
        models: of one structure.

    Raises:
        BenchError: one is there twice.
    """
    names = (
        [model.name for model in models],
        [model.path.resolve().name for model in models],
        ["-".join(model.path.resolve().parts[-2:]) for model in models],
    )
    for found in names:
        if len(set(found)) == len(found):
            return [
                dataclasses.replace(model, name=own)
                for model, own in zip(models, found, strict=True)
            ]
    twice = next(name for name in names[-1] if names[-1].count(name) > 1)
    raise BenchError(f"Two models are called {twice!r}: name each once.")


def check_elements(model: Model, name: str, numbers: Sequence[int]) -> None:
    """Refuses a structure with elements that a model never saw.

    Args:
        model: any.
        name: of the structure.
        numbers: atomic numbers.

    Raises:
        BenchError: there is one.
    """
    unseen = sorted(set(numbers) - {z for z, _ in model.potential.references})
    if unseen:
        named = ", ".join(chemical_symbols[z] for z in unseen)
        raise BenchError(
            f"{model.name} was never trained on {named}, which {name} holds: choose "
            "another structure or model."
        )
