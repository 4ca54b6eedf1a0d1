"""Arrays of a model or a training state in one file, without pickle."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

_FORMAT = "backbones arrays 1"


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
    text = json.dumps({"format": _FORMAT, "header": header})
    temporary = path.with_name(path.name + ".partial")
    with open(temporary, "wb") as file:
        # Names of leaves hold dots and brackets, so they travel as numbered entries.
        names = json.dumps(list(arrays))
        entries: dict[str, Any] = {
            f"array_{i}": a for i, a in enumerate(arrays.values())
        }
        entries["header"] = np.frombuffer(text.encode(), np.uint8)
        entries["names"] = np.frombuffer(names.encode(), np.uint8)
        np.savez(file, **entries)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_header(path: str | os.PathLike) -> dict[str, Any]:
    """The header of a file that `write_arrays` made.

    Raises:
        ValueError: the file is truncated, of another format or of another version.
    """
    return _open(path)[0]


def read_arrays[Tree](path: str | os.PathLike, like: Tree) -> Tree:
    """A tree like `like` with the arrays of a file.

    Args:
        path: made by `write_arrays`.
        like: a freshly built tree of the same architecture; it is not changed.

    Raises:
        ValueError: the file is unreadable, or its arrays do not fit the architecture.
    """
    _, stored = _open(path)
    arrays, rest = eqx.partition(like, eqx.is_array)
    leaves = jax.tree.leaves_with_path(arrays)
    wanted = {jax.tree_util.keystr(at): leaf for at, leaf in leaves}
    if set(wanted) != set(stored):
        odd = sorted(set(wanted) ^ set(stored))[0]
        raise ValueError(
            f"{path} holds another architecture: {odd} is in only one of the two."
        )
    for name, leaf in wanted.items():
        if stored[name].shape != leaf.shape:
            raise ValueError(
                f"{path} holds another architecture: {name} has shape "
                f"{stored[name].shape}, the model needs {leaf.shape}."
            )
    new = [jnp.asarray(stored[n], leaf.dtype) for n, leaf in wanted.items()]
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(arrays), new), rest)


def _open(path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            text = json.loads(file["header"].tobytes())
            if text.get("format") != _FORMAT:
                raise ValueError(
                    f"{path} has format {text.get('format')!r}; this release reads "
                    f"{_FORMAT!r}."
                )
            names = json.loads(file["names"].tobytes())
            arrays = {n: file[f"array_{i}"] for i, n in enumerate(names)}
    except (zipfile.BadZipFile, KeyError, EOFError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is not a complete file of model arrays: write it again."
        ) from error
    return text["header"], arrays
