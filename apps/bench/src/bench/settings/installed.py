"""What installed packages add, bench itself included, by group of entry points.

Grids are checked against the names; a package is imported when what it adds is used.
"""

import difflib
import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from bench.exceptions import BenchError, abbreviate, one_line

READERS = "bench.readers"
"""Group of the readers of file formats, see `bench.sources.source.Reader`."""

SPLITTERS = "bench.splitters"
"""Group of the splitters, see `bench.experiment.splitters.InstalledSplitter`."""

DESCRIPTORS = "bench.descriptors"
"""Group of the descriptors, see `bench.experiment.descriptors.Descriptor`."""

_TITLES = {READERS: "reader", SPLITTERS: "splitter", DESCRIPTORS: "descriptor"}
_MEMBERS = {
    READERS: ("__call__",),
    SPLITTERS: ("needs", "from_settings"),
    DESCRIPTORS: ("__call__",),
}
_REQUIRED = {
    READERS: "`__call__`, see `bench.sources.source.Reader`",
    SPLITTERS: "`needs` and `from_settings`, see "
    "`bench.experiment.splitters.InstalledSplitter`",
    DESCRIPTORS: "`__call__`, see `bench.experiment.descriptors.Descriptor`",
}

LAYERS = ("charge", "celli", "efa", "les")
"""Names of the long-range layers with settings of their own; `+` composes layers."""

BACKBONES = ("mace", "mp4", "allegro", "dimenet")
"""Names of the backbones with settings of their own."""

# Entry points of layers that a grid chooses in another way.
_PARTS_OF_LAYERS = {"none", "sum", "celli-polarizable"}


def layer_names() -> tuple[str, ...]:
    """Returns the names of the long-range layers that a grid can have."""
    return *LAYERS, *other_layers()


def other_layers() -> tuple[str, ...]:
    """Returns the names of the layers of other packages."""
    return _installed("backbones.long_range", {*LAYERS, *_PARTS_OF_LAYERS})


def backbone_names() -> tuple[str, ...]:
    """Returns the names of the backbones that a grid can have."""
    return *BACKBONES, *other_backbones()


def other_backbones() -> tuple[str, ...]:
    """Returns the names of the backbones of other packages."""
    return _installed("backbones.backbones", set(BACKBONES))


def check_name(name: str, names: Sequence[str]) -> str:
    """Returns a name, or raises an error that suggests another.

    Args:
        name: of a layer, a backbone or anything else that is installed.
        names: valid ones.

    Raises:
        ValueError: the name is not valid.
    """
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(
        f"{name!r:.80} is not installed: {hint}installed are "
        f"{', '.join(names) or 'none: install bench again'}"
    )


def installed_names(group: str) -> tuple[str, ...]:
    """Returns the names of all entry points of a group.

    Args:
        group: such as `READERS`.
    """
    return _installed(group, set())


def load_installed(group: str, name: str) -> Any:
    """Returns what an installed package adds under a name.

    Args:
        group: such as `READERS`.
        name: of the entry point.

    Raises:
        BenchError: no package or more than one has this name, its package cannot be
            imported, or it is something else.
    """
    title, shown = _TITLES[group], repr(abbreviate(name))
    points = entry_points(group=group, name=name)
    by_origin = {(point.value, _distribution(point)): point for point in points}
    if not by_origin:
        close = difflib.get_close_matches(name, installed_names(group), 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise BenchError(
            f"There is no {title} {shown}: {hint}installed are "
            f"{', '.join(installed_names(group)) or 'none: install bench again'}."
        )
    if len(by_origin) > 1:
        packages = " and ".join(sorted(distribution for _, distribution in by_origin))
        raise BenchError(
            f"{packages} both have a {title} {shown}: uninstall one of them."
        )
    ((_, distribution), point) = by_origin.popitem()
    try:
        loaded = point.load()
    except Exception as error:  # importing a package may raise any exception
        raise BenchError(
            f"The {title} {shown} of the package {distribution} cannot be imported "
            f"({type(error).__name__}: {one_line(error).rstrip('.')}): report it to "
            f"the author of {distribution}, or uninstall it."
        ) from error
    missing = [member for member in _MEMBERS[group] if not hasattr(loaded, member)]
    if missing:
        raise BenchError(
            f"{shown} of the package {distribution} is not a {title}, it has no "
            f"`{missing[0]}`: its author must add {_REQUIRED[group]}."
        )
    return loaded


def _distribution(point: EntryPoint) -> str:
    return "unknown" if point.dist is None else point.dist.name


def _installed(group: str, excluded: set[str]) -> tuple[str, ...]:
    """Returns the names of the entry points of a group."""
    names = {point.name for point in entry_points(group=group)}
    # Names are parts of the names of folders, and `+` separates layers.
    valid = {name for name in names if re.fullmatch(r"[\w.-]+", name)}
    return tuple(sorted(valid - excluded))
