"""Model files: a JSON header from which a potential is rebuilt, and its arrays."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np

from ._archive import read_archive
from ._backbone import Backbone
from ._file import named_arrays, with_arrays, write_arrays
from ._header import Header, checked_header, header_of
from ._installed import build_layer, one_line
from ._potential import Potential

FILE_NAME = "model.npz"
"""Name of the model file in a folder that is given to `load`."""


def save(path: str | os.PathLike, potential: Potential) -> None:
    """Writes a potential to a file, atomically and without pickle.

    Args:
        path: file to write.
        potential: backbone and layers must be entry points of installed packages, in
            the groups `backbones.backbones` and `backbones.long_range`.

    Raises:
        ValueError: they are not, or the file would not describe the potential.
    """
    header = header_of(potential)
    _check_restored(potential, header)
    write_arrays(path, potential, header)


def check_savable(potential: Potential) -> None:
    """Raises an error for a potential that `save` cannot write.

    Call it before a training, which would be lost otherwise. It traces the constructors
    and computes nothing.

    Args:
        potential: see `save`.

    Raises:
        ValueError: backbone or layers are no entry points of installed packages, or a
            file would not describe the potential.
    """
    _check_restored(potential, header_of(potential))


def load(path: str | os.PathLike) -> Potential:
    """Returns the potential of a model file, in JAX's default float type.

    Backbone and layers are looked up by name among the entry points of the installed
    packages. The header is checked against the arrays before the model is built.

    Args:
        path: file written by `save`, or a folder in which it is `model.npz`, such as
            that of a run of `bench`.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is damaged or of another kind or version, or a package that
            it needs is not installed.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(
            f"There is no file {path}: expected a file written by `save`, or a folder "
            f"with {FILE_NAME}, such as that of a finished run of `bench`."
        )
    stored, arrays = read_archive(path, arrays=True)
    try:
        skeleton = _skeleton(checked_header(stored, arrays))
    except ValueError as error:
        raise ValueError(f"The model in {path}: {error}") from error
    potential = with_arrays(path, skeleton, arrays)
    _check_values(path, named_arrays(potential))
    return potential


def _skeleton(header: Header) -> Potential:
    """Returns the potential with shapes in place of arrays."""

    def build(key):
        backbone = header.backbone(
            header.elements,
            header.size,
            cutoff=header.cutoff,
            avg_num_neighbors=1.0,  # replaced by the stored array
            long_range={
                hook: build_layer(description, key=key)
                for hook, description in header.long_range.items()
            },
            charges=header.charges,
            key=key,
        )
        return Potential(backbone, header.atomic_energies, zbl=header.zbl)

    try:
        potential = eqx.filter_eval_shape(build, jr.key(0))
    except ValueError:
        raise
    # Constructors of other packages may raise any exception.
    except Exception as error:
        raise ValueError(
            f"its backbone cannot be built from the header ({one_line(error)})"
        ) from error
    if not isinstance(potential.backbone, Backbone):
        name = type(potential.backbone).__name__
        raise ValueError(f"{name} lacks a member of `backbones.Backbone`")
    return potential


def _check_restored(potential: Potential, header: dict[str, Any]) -> None:
    """Raises an error unless a file with this header restores the potential."""
    try:
        stored = json.loads(json.dumps(header))
        skeleton = _skeleton(checked_header(stored, named_arrays(potential)))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"The potential cannot be written to a model file: {error}."
        ) from error
    layers, rebuilt = (p.backbone.hooks.layers for p in (potential, skeleton))
    for hook, layer in layers.items():
        if not same_architecture(layer, rebuilt[hook]):
            raise ValueError(
                f"The layer at {hook!r} cannot be written to a model file: the "
                f"`arguments` of {type(layer).__name__} do not give the same layer "
                "again."
            )
    if not same_architecture(potential, skeleton):
        raise ValueError(
            "The potential cannot be written to a model file: elements, size, cutoff "
            f"and layers of {type(potential.backbone).__name__} do not give the same "
            "model again."
        )


def same_architecture(module: Any, other: Any) -> bool:
    """Whether two modules differ at most in the values of their arrays.

    Args:
        module: with arrays, or `jax.ShapeDtypeStruct` in their place.
        other: as `module`.
    """
    shapes = lambda tree: [getattr(x, "shape", x) for x in jax.tree.leaves(tree)]
    same_structure = jax.tree.structure(module) == jax.tree.structure(other)
    return same_structure and shapes(module) == shapes(other)


def _check_values(path, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises an error unless weights are finite and `avg_num_neighbors` is positive."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(
                f"The model in {path} has values that are not finite in {name}: its "
                "training failed, or the file is damaged."
            )
    average = arrays.get(".backbone.avg_num_neighbors")
    if average is not None and not np.all(average > 0):
        raise ValueError(
            f"The model in {path} has avg_num_neighbors={average}, which must be "
            "positive."
        )
