"""Arrays of a model or a training state in one file, without pickle."""

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
    """Writes the arrays of a tree and a JSON header, whole or not at all.

    Args:
        path: file to write; replaced only once the new one is complete.
        tree: a model or an optimiser's state; other leaves are left out.
        header: anything JSON holds, such as architecture, elements and versions.
    """
    path = Path(path)
    leaves = jax.tree.leaves_with_path(eqx.filter(tree, eqx.is_array))
    arrays = {jax.tree_util.keystr(at): np.asarray(leaf) for at, leaf in leaves}
    text = json.dumps({"format": FORMAT, "header": header})
    temporary = path.with_name(path.name + ".partial")
    # Names of leaves hold dots and brackets, so they travel as numbered entries.
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
        # On a full disk what did not fit would keep its room.
        temporary.unlink(missing_ok=True)


def read_header(path: str | os.PathLike) -> dict[str, Any]:
    """The header of a file that `write_arrays` made.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, of another format or of another version.
    """
    return read_archive(Path(path), arrays=False)[0]


def read_arrays[Tree](path: str | os.PathLike, like: Tree) -> Tree:
    """A tree like `like` with the arrays of a file.

    Args:
        path: made by `write_arrays`.
        like: a freshly built tree of the same architecture; it is not changed. Its
            arrays may be mere shapes, `jax.ShapeDtypeStruct`.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, or its arrays do not fit the architecture.
    """
    _, stored = read_archive(Path(path), arrays=True)
    return filled(path, like, stored)


def filled[Tree](
    path: str | os.PathLike, like: Tree, stored: Mapping[str, np.ndarray]
) -> Tree:
    """A tree like `like` with these arrays, once all of them are known to fit.

    Args:
        path: of the file they come from.
        like: its arrays may be mere shapes, `jax.ShapeDtypeStruct`.
        stored: by the path of the leaf.

    Raises:
        ValueError: the arrays do not fit the architecture.
    """
    shaped = lambda leaf: eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)
    arrays, rest = eqx.partition(like, shaped)
    leaves = jax.tree.leaves_with_path(arrays)
    wanted = {jax.tree_util.keystr(at): leaf for at, leaf in leaves}
    if set(wanted) != set(stored):
        odd = sorted(set(wanted) ^ set(stored))[0]
        raise ValueError(
            f"{path} holds another architecture: {odd!r:.80} is in only one of the two."
        )
    for name, leaf in wanted.items():
        found = stored[name]
        if found.shape != leaf.shape:
            raise ValueError(
                f"{path} holds another architecture: {name} has shape "
                f"{found.shape}, the model needs {leaf.shape}."
            )
        if not np.can_cast(found.dtype, leaf.dtype, "same_kind"):
            raise ValueError(
                f"{path} is damaged: {name} holds {found.dtype} where the model needs "
                f"{leaf.dtype}."
            )
    try:
        with np.errstate(over="raise"):
            new = [jnp.asarray(stored[n].astype(x.dtype)) for n, x in wanted.items()]
    except FloatingPointError as error:
        raise ValueError(
            f"{path} holds values too large for the model's float type."
        ) from error
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(arrays), new), rest)
