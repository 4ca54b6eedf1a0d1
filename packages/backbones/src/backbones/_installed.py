"""Long-range layers and backbones of installed packages, by entry point.

Only entry points of these two groups are looked up, by name, so that a file or a
setting never decides what is imported.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray


class DescriptionError(ValueError):
    """A description of a layer or backbone in a model file cannot be used."""


LONG_RANGE = "backbones.long_range"
BACKBONES = "backbones.backbones"

_TITLES = {LONG_RANGE: "long-range layer", BACKBONES: "backbone"}
_MEMBERS = {
    LONG_RANGE: ("__call__", "degree", "plan_for", "arguments"),
    BACKBONES: (
        *("__call__", "elements", "size", "hooks", "cutoff", "needs_triplets"),
        *("has_charges", "plan_for", "hook_parts", "Size"),
    ),
}


def layer_class(name: str) -> Any:
    """Returns the class of an installed long-range layer.

    Args:
        name: of an entry point in the group `backbones.long_range`, such as `"les"`.

    Raises:
        ValueError: no installed package or more than one has such an entry point, or it
            is not a long-range layer.
    """
    return _load(LONG_RANGE, name)


def backbone_class(name: str) -> Any:
    """Returns the class of an installed backbone.

    Args:
        name: of an entry point in the group `backbones.backbones`, such as `"mace"`.

    Raises:
        ValueError: no installed package or more than one has such an entry point, or it
            is not a backbone.
    """
    return _load(BACKBONES, name)


def describe(group: str, module: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how a model file names a layer or a backbone.

    Args:
        group: of the entry points.
        module: layer or backbone.
        arguments: of its constructor, values that JSON has.

    Raises:
        ValueError: its class is not an entry point of the package that defines it.
    """
    kind = type(module)
    point = _entry_point_of(group, kind)
    if point is None:
        package = kind.__module__.partition(".")[0]
        raise ValueError(
            f"{kind.__name__} cannot be written to a model file, because the package "
            f"{package!r} is not installed with an entry point {group!r} for this "
            f"{_TITLES[group]}: add one, or write the arrays with `write_arrays`."
        )
    return {
        "name": point.name,
        "distribution": _distribution(point),
        "version": "" if point.dist is None else point.dist.version,
        "arguments": dict(arguments),
    }


def _entry_point_of(group: str, kind: type) -> EntryPoint | None:
    """Returns the entry point of a class, None if its package has none.

    Other packages are not imported, and those with the name of the class are tried
    first. A class may be defined elsewhere in its package, so that modules are not
    compared; one that cannot be imported has not defined the class.
    """
    package = kind.__module__.partition(".")[0]
    points = entry_points(group=group)
    of_package = [
        point for point in points if point.module.partition(".")[0] == package
    ]
    for point in sorted(of_package, key=lambda point: point.attr != kind.__qualname__):
        try:
            if point.load() is kind:
                return point
        # Importing a module may raise any exception.
        except Exception:
            continue
    return None


def describe_layer(layer: Any) -> dict[str, Any]:
    """Returns how a model file names a long-range layer.

    Args:
        layer: of an installed package.

    Raises:
        ValueError: its class has no entry point, or no method `arguments`.
    """
    if not hasattr(layer, "arguments"):
        raise ValueError(
            f"{type(layer).__name__} cannot be written to a model file: it has no "
            "method `arguments`, see `LongRange`."
        )
    return describe(LONG_RANGE, layer, layer.arguments())


def find_class(group: str, description: Any) -> Any:
    """Returns the class that a model file names.

    Args:
        group: of the entry points.
        description: from `describe`, as read from a file.

    Raises:
        DescriptionError: it is not a description, or the class is not installed.
    """
    title = _TITLES[group]
    expected = {"name": str, "distribution": str, "version": str, "arguments": dict}
    if not isinstance(description, dict) or set(description) != set(expected):
        raise DescriptionError(f"{description!r:.80} does not describe a {title}")
    for entry, kind in expected.items():
        if not isinstance(description[entry], kind):
            raise DescriptionError(f"`{entry}` of a {title} is not a {kind.__name__}")
    name = description["name"]
    if not entry_points(group=group, name=name):
        raise DescriptionError(
            f"its {title} {name!r:.80} is not installed: install the package "
            f"{description['distribution']!r:.80} (the file was written with version "
            f"{description['version']!r:.80})"
        )
    return _load(group, name)


def build_layer(description: Any, *, key: PRNGKeyArray) -> Any:
    """Returns the layer that a model file describes, with initial weights.

    Args:
        description: from `describe_layer`, as read from a file.
        key: seed of the weights.

    Raises:
        DescriptionError: the layer is not installed, or does not take the arguments.
    """
    kind = find_class(LONG_RANGE, description)
    try:
        layer = from_arguments(kind, description["arguments"], key=key)
        unchanged = _has(layer.arguments(), description["arguments"])
    # Of a member of a sum.
    except DescriptionError:
        raise
    # A constructor may raise any exception for arguments that it does not expect.
    except Exception as error:
        raise DescriptionError(
            f"its long-range layer {description['name']!r:.80} does not take the "
            f"arguments of the file, written with {description['distribution']!r:.80} "
            f"{description['version']!r:.80} ({one_line(error)})"
        ) from error
    if not unchanged:
        raise DescriptionError(
            f"its long-range layer {description['name']!r:.80} cannot have the "
            f"arguments {description['arguments']!r:.80}: the file is damaged"
        )
    return layer


def _has(arguments: Any, stored: Any) -> bool:
    """Whether arguments have the stored values; later versions may have more."""
    if isinstance(stored, dict) and isinstance(arguments, dict):
        names = set(stored) - {"distribution", "version"}
        return all(n in arguments and _has(arguments[n], stored[n]) for n in names)
    if isinstance(stored, list | tuple) and isinstance(arguments, list | tuple):
        pairs = zip(arguments, stored, strict=False)
        return len(arguments) == len(stored) and all(_has(a, b) for a, b in pairs)
    same_kind = isinstance(arguments, bool) == isinstance(stored, bool)
    return same_kind and arguments == stored


def from_arguments(kind: Any, arguments: Any, *, key: PRNGKeyArray) -> Any:
    """Returns a layer with initial weights.

    Args:
        kind: class of the layer.
        arguments: of its constructor, with lists in place of tuples.
        key: seed of the weights.
    """
    given = _as_tuples(arguments)
    if hasattr(kind, "from_arguments"):
        return kind.from_arguments(given, key=key)
    return kind(**given, key=key)


def one_line(error: Exception) -> str:
    """Returns the message of an error on one line, shortened.

    Args:
        error: any exception.
    """
    text = " ".join(str(error).split())[:150]
    return text.rstrip(".") or type(error).__name__


def _load(group: str, name: str) -> Any:
    title = _TITLES[group]
    points = entry_points(group=group, name=name)
    by_origin = {(point.value, _distribution(point)): point for point in points}
    if not by_origin:
        installed = sorted({point.name for point in entry_points(group=group)})
        close = difflib.get_close_matches(name, installed, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(
            f"No {title} {name!r:.80} is installed: {hint}installed are "
            f"{', '.join(installed)}."
        )
    if len(by_origin) > 1:
        packages = " and ".join(distribution for _, distribution in by_origin)
        raise ValueError(
            f"{packages} both have a {title} {name!r:.80}: remove one of them."
        )
    ((_, distribution), point) = by_origin.popitem()
    try:
        kind = point.load()
    # Importing a package may raise any exception.
    except Exception as error:
        raise ValueError(
            f"The {title} {name!r:.80} of {distribution} cannot be imported "
            f"({type(error).__name__}: {one_line(error)}): report it to the author of "
            f"{distribution}, or uninstall it."
        ) from error
    missing = _missing_member(group, kind)
    if missing is not None:
        raise ValueError(
            f"The entry point {name!r:.80} of {distribution} is not a {title}: "
            f"{missing}."
        )
    return kind


def _missing_member(group: str, kind: Any) -> str | None:
    """Returns what a class lacks, as a clause; None if it lacks nothing."""
    if not (isinstance(kind, type) and issubclass(kind, eqx.Module)):
        return "it is not a class derived from `equinox.Module`"
    fields = {field.name for field in dataclasses.fields(kind)}
    for member in _MEMBERS[group]:
        if member not in fields and not hasattr(kind, member):
            return f"it has no `{member}`"
    if group == BACKBONES:
        size: Any = getattr(kind, "Size", None)
        if not (dataclasses.is_dataclass(size) and hasattr(size, "widths")):
            return "its `Size` is not a dataclass with a property `widths`"
    return None


def _distribution(point: EntryPoint) -> str:
    return "" if point.dist is None else point.dist.name


def _as_tuples(value: Any) -> Any:
    """Returns a value of JSON with tuples in place of lists."""
    if isinstance(value, dict):
        return {key: _as_tuples(entry) for key, entry in value.items()}
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
