"""Differences of nested JSON values, for messages."""

from collections.abc import Mapping
from typing import Any

from bench.exceptions import abbreviate

_MAX_LISTED = 3
"""Number of differences that a message lists."""


def differences(stored: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """Returns the first keys whose values differ, with both values, as text.

    Args:
        stored: nested JSON values of a file.
        current: nested JSON values to compare with.
    """
    old, new = _flatten(stored), _flatten(current)
    keys = [k for k in {**new, **old} if old.get(k) != new.get(k)]
    shown = [
        f"{key} (stored {abbreviate(old.get(key))}, now {abbreviate(new.get(key))})"
        for key in keys[:_MAX_LISTED]
    ]
    more = f" and {len(keys) - _MAX_LISTED} more" if len(keys) > _MAX_LISTED else ""
    return ", ".join(shown) + more


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested values by dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
