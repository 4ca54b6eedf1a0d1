"""Search for labels under keys that are not read."""

import re
from collections.abc import Mapping
from typing import Any

from bench.labels import LABELS

_PATTERNS = {
    **{
        name: (
            label.key_pattern,
            "array" if label.per_atom or label.shape else "number",
        )
        for name, label in LABELS.items()
        if label.key_pattern
    },
    "virial": ("virial", "array"),
}
"""Pattern of typical keys in lower case, and type of their values, by label."""


def unread_labels(header: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns keys that look like those of labels that no structure has.

    Args:
        header: of a dataset, with the keys of the source.

    Returns:
        Keys by label.
    """
    read = dict(entry.split("=", 1) for entry in header["label_keys"])
    if "stress" in read:
        read["virial"] = read["stress"]
    unread = [key for key in header["available_keys"] if key not in read.values()]
    types = header["key_types"]
    suggestions = {}
    for name, (pattern, type_of_values) in _PATTERNS.items():
        keys = [
            key
            for key in unread
            if re.search(pattern, key.lower()) and f"{type_of_values}={key}" in types
        ]
        if name not in read and keys:
            suggestions[name] = sorted(keys)
    return suggestions


def key_option(label: str, key: str) -> str:
    """Returns the option of `bench prepare` that sets the key of a label.

    Args:
        label: one of `bench.settings.reading.DEFAULT_KEYS`.
        key: in the source.
    """
    return f"-o keys.{label}={key}"
