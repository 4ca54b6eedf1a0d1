"""Files of the arrays of a model or a training state, without pickle."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._archive import FORMAT, read_archive


def write_arrays(path: str | os.PathLike, tree: Any, header: dict[str, Any]) -> None:
    """Writes the arrays of a tree and a JSON header to a file, atomically.

    Args:
        path: file to write; an existing one is replaced when the new one is complete.
        tree: a model or the state of an optimizer; leaves that are not arrays are not
            written.
        header: values that JSON has, such as architecture, elements and versions.
    """
    path = Path(path)
    arrays = named_arrays(tree)
    text = json.dumps({"format": FORMAT, "header": header})
    temporary = path.with_name(path.name + ".partial")
    # Paths of leaves have dots and brackets, so the entries are numbered.
    names = json.dumps(list(arrays))
    entries: dict[str, Any] = {f"array_{i}": a for i, a in enumerate(arrays.values())}
    entries["header"] = np.frombuffer(text.encode(), np.uint8)
    entries["names"] = np.frombuffer(names.encode(), np.uint8)
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **entries)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        # After an error, such as a full disk, the partial file is removed.
        temporary.unlink(missing_ok=True)


def named_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Returns the arrays of a tree by the path of their leaf.

    Args:
        tree: a model or the state of an optimizer.
    """
    leaves = jax.tree.leaves_with_path(eqx.filter(tree, eqx.is_array))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def read_header(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the header of a file of arrays.

    Args:
        path: file written by `write_arrays`.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, or has another format or version.
    """
    return read_archive(Path(path), arrays=False)[0]


def read_arrays[Tree](path: str | os.PathLike, like: Tree) -> Tree:
    """Returns a tree with the arrays of a file.

    Args:
        path: file written by `write_arrays`.
        like: a tree of the same structure, whose other leaves are taken; its arrays may
            be `jax.ShapeDtypeStruct`.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, or its arrays do not match the tree.
    """
    _, stored = read_archive(Path(path), arrays=True)
    return with_arrays(path, like, stored)


def with_arrays[Tree](
    path: str | os.PathLike, like: Tree, stored: Mapping[str, np.ndarray]
) -> Tree:
    """Returns a tree with the given arrays, after a check of names, shapes and types.

    Args:
        path: file that the arrays are from, for error messages.
        like: a tree of the same structure; its arrays may be `jax.ShapeDtypeStruct`.
        stored: arrays by the path of their leaf.

    Raises:
        ValueError: the arrays do not match the tree.
    """
    has_shape = lambda leaf: (
        eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)
    )
    arrays, rest = eqx.partition(like, has_shape)
    leaves = jax.tree.leaves_with_path(arrays)
    expected = {jax.tree_util.keystr(p): leaf for p, leaf in leaves}
    if set(expected) != set(stored):
        unmatched = sorted(set(expected) ^ set(stored))[0]
        raise ValueError(
            f"{path} is of another architecture: {unmatched!r:.80} is in only one of "
            "the two."
        )
    for name, leaf in expected.items():
        array = stored[name]
        if array.shape != leaf.shape:
            raise ValueError(
                f"{path} is of another architecture: {name} has shape "
                f"{array.shape}, the model needs {leaf.shape}."
            )
        if not np.can_cast(array.dtype, leaf.dtype, "same_kind"):
            raise ValueError(
                f"{path} is damaged: {name} has type {array.dtype}, the model needs "
                f"{leaf.dtype}."
            )
    try:
        with np.errstate(over="raise"):
            new = [jnp.asarray(stored[n].astype(x.dtype)) for n, x in expected.items()]
    except FloatingPointError as error:
        raise ValueError(
            f"{path} has values too large for the model's float type."
        ) from error
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(arrays), new), rest)
