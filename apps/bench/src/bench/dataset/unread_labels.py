"""Search for labels under keys that are not read."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class _Label(NamedTuple):
    """Typical keys of a label.

    Args:
        option: option of `bench prepare` that sets the key.
        pattern: regular expression that typical keys match, in lower case.
        type: `"number"` or `"array"`.
    """

    option: str
    pattern: str
    type: str


LABELS = {
    "energy": _Label("--energy-key", r"energy|^e$|^etot$", "number"),
    "forces": _Label("--forces-key", r"force|^f$", "array"),
    "stress": _Label("--stress-key", r"stress", "array"),
    "virial": _Label("--virial-key", r"virial", "array"),
    "charges": _Label("--charges-key", r"charge|^q$", "array"),
    "total_charge": _Label("--total-charge-key", r"charge", "number"),
    "spin": _Label("--spin-key", r"spin|multiplicity", "number"),
    "dipole": _Label("--dipole-key", r"dipole", "array"),
    "born_charges": _Label("--born-charges-key", r"born|(^|_)bec($|_)", "array"),
}


def unread_labels(header: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns keys that look like those of labels that no structure has.

    Args:
        header: of a dataset, with the keys of the source.

    Returns:
        Keys by the option of `bench prepare` that would read them.
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
            suggestions[label.option] = sorted(keys)
    return suggestions
