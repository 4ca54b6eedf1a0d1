"""Search for labels under keys that are not read."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class _Label(NamedTuple):
    """Typical keys of a label.

    Args:
        pattern: regular expression that typical keys match, in lower case.
        type: `"number"` or `"array"`.
    """

    pattern: str
    type: str


LABELS = {
    "energy": _Label(r"energy|^e$|^etot$", "number"),
    "forces": _Label(r"force|^f$", "array"),
    "stress": _Label(r"stress", "array"),
    "virial": _Label(r"virial", "array"),
    "charges": _Label(r"charge|^q$", "array"),
    "total_charge": _Label(r"charge", "number"),
    "spin": _Label(r"spin|multiplicity", "number"),
    "dipole": _Label(r"dipole", "array"),
    "born_charges": _Label(r"born|(^|_)bec($|_)", "array"),
}


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
    for name, label in LABELS.items():
        keys = [
            key
            for key in unread
            if re.search(label.pattern, key.lower()) and f"{label.type}={key}" in types
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
