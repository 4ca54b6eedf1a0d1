"""Names of what installed packages add, by group of entry points.

Only names are read: no package is imported because a grid names it.
"""

import difflib
import re
from collections.abc import Sequence
from importlib.metadata import entry_points

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
        f"{', '.join(names) or 'none'}"
    )


def _installed(group: str, excluded: set[str]) -> tuple[str, ...]:
    """Returns the names of the entry points of a group."""
    names = {point.name for point in entry_points(group=group)}
    # Names are parts of the names of folders, and `+` separates layers.
    valid = {name for name in names if re.fullmatch(r"[\w.-]+", name)}
    return tuple(sorted(valid - excluded))
