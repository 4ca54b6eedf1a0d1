"""Layers and backbones of other packages, built from a grid's settings."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from backbones import backbone_class, layer_class
from jaxtyping import PRNGKeyArray

from bench.exceptions import BenchError, one_line
from bench.settings.architectures import InstalledLayer, ModelSettings


def hook_of(settings: ModelSettings, name: str, hooks: list[str]) -> str:
    """Returns the hook at which a layer of another package is inserted.

    Args:
        settings: of the layers.
        name: of the layer.
        hooks: of the backbone.

    Raises:
        BenchError: the backbone has no such hook.
    """
    hook = _settings_of(settings, name).hook
    if hook not in hooks:
        raise BenchError(
            f"model.layers.{name}.hook: there is no hook {hook!r}; this backbone has "
            f"{', '.join(hooks)}."
        )
    return hook


def build_other_layer(
    settings: ModelSettings, name: str, width: int, key: PRNGKeyArray
) -> Any:
    """Builds a layer of another package with initial weights.

    Args:
        settings: of the layers.
        name: of the layer.
        width: number of feature channels at its hook.
        key: seed of the weights.

    Raises:
        BenchError: the package cannot be imported, or the class does not take the
            arguments.
    """
    arguments = _settings_of(settings, name).arguments
    kind = load_class(layer_class, name)
    parameters = _keywords(kind)
    if "key" not in parameters and None not in parameters:
        raise BenchError(
            f"The layer {name!r} cannot be built: the constructor of {kind.__name__} "
            "has no argument `key`; expected (channels, *, key, ...), see "
            "`backbones.LongRange`."
        )
    known = [p for p in list(parameters)[1:] if p != "key"]
    _check_names(f"model.layers.{name}.arguments", arguments, known)
    try:
        return kind(width, **arguments, key=key)
    # Of another package, so that settings may raise any exception.
    except Exception as error:
        raise BenchError(
            f"The layer {name!r} cannot be built with the arguments "
            f"{_shown(arguments)}: {type(error).__name__}: {one_line(error)}"
        ) from error


def build_size(name: str, entry_point: str, values: Mapping[str, Any]) -> Any:
    """Returns the hyperparameters of a backbone.

    Args:
        name: of the backbone in settings.
        entry_point: of its class.
        values: by name, with lists or tuples.

    Raises:
        BenchError: the package cannot be imported, or a value is invalid.
    """
    kind = load_class(backbone_class, entry_point).Size
    _check_names(f"model.backbones.{name}", values, list(_keywords(kind)))
    try:
        return kind(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        )
    except (TypeError, ValueError) as error:
        raise BenchError(f"model.backbones.{name}: {one_line(error)}") from error


def load_class(find: Any, name: str) -> Any:
    """Returns the class of an entry point.

    Args:
        find: `layer_class` or `backbone_class`.
        name: of the entry point.

    Raises:
        BenchError: the class cannot be imported or is of another kind.
    """
    try:
        return find(name)
    except ValueError as error:
        raise BenchError(str(error)) from error


def _settings_of(settings: ModelSettings, name: str) -> InstalledLayer:
    return settings.layers.get(name, InstalledLayer())


def _keywords(kind: Any) -> dict[str | None, inspect.Parameter]:
    """Returns a constructor's arguments by name, None for any others that it takes."""
    parameters = inspect.signature(kind).parameters.values()
    return {None if p.kind is p.VAR_KEYWORD else p.name: p for p in parameters}


def _check_names(section: str, given: Mapping[str, Any], known: list[Any]) -> None:
    """Raises an error that names an argument that a constructor does not have."""
    for name in given:
        if name in known or None in known:
            continue
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise BenchError(
            f"{section}.{name}: there is no such argument: {hint}known are "
            f"{', '.join(known) or 'none'}."
        )


def _shown(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v!r:.40}" for k, v in arguments.items()) or "of the default"
