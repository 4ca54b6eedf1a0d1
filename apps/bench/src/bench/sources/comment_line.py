"""Comment lines of extended XYZ."""

import re
from collections.abc import Collection
from typing import Any

from ase.io.extxyz import key_val_str_to_dict

LITERAL = ("id", "group")
"""Names whose values are words, also where they look like numbers."""

_PAIR = re.compile(
    r"""(?P<name>[^\s=]+)\s*=\s*(?:"(?P<a>(?:[^"\\]|\\.)*)"|'(?P<b>(?:[^'\\]|\\.)*)'"""
    r"""|\{(?P<c>[^}]*)\}|\[(?P<d>[^\]]*)\]|(?P<e>\S+))"""
)


def parse_comment(line: str, literal: Collection[str] = LITERAL) -> dict[str, Any]:
    """What a comment line says, by name, as ASE reads it.

    ASE turns every value into a number if Python can: `01.001_080` becomes 1.00108,
    `007` becomes 7, and different ids become the same one.

    Args:
        line: of a frame.
        literal: names whose values stay as they are written.
    """
    values: dict[str, Any] = key_val_str_to_dict(line)
    changed = {k for k in literal if not isinstance(values.get(k, ""), str)}
    if changed:
        for pair in _PAIR.finditer(line):
            if pair["name"] in changed:
                text = next(pair[k] for k in "abcde" if pair[k] is not None)
                values[pair["name"]] = re.sub(r"\\(.)", r"\1", text)
    return values
