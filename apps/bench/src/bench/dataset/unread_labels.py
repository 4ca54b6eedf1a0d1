"""Labels that a source seems to hold under names that are not read."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class _Label(NamedTuple):
    """How names of a label look.

    Args:
        option: of `bench prepare`, that names it.
        part: what most of them contain, a regular expression.
        kind: whether it is a number or an array.
    """

    option: str
    part: str
    kind: str


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


def unread_labels(notes: Mapping[str, Any]) -> dict[str, list[str]]:
    """Options for labels that no structure has, and names that look like theirs.

    Args:
        notes: what a source offers, and which of it is read, as a header says it.
    """
    read = dict(entry.split("=", 1) for entry in notes["label_keys"])
    if "stress" in read:
        read["virial"] = read["stress"]
    unread = [name for name in notes["available_keys"] if name not in read.values()]
    types = notes["key_types"]
    found = {}
    for label, like in LABELS.items():
        names = [
            name
            for name in unread
            if re.search(like.part, name.lower()) and f"{like.kind}={name}" in types
        ]
        if label not in read and names:
            found[like.option] = sorted(names)
    return found
