"""Comment lines of extended XYZ."""

import re
from collections.abc import Collection
from typing import Any

from ase.io.extxyz import key_val_str_to_dict

STRING_KEYS = ("id", "group")
"""Keys whose values remain strings, even if they look like numbers."""

_PAIR = re.compile(
    r"""(?P<key>[^\s=]+)\s*=\s*(?:"(?P<a>(?:[^"\\]|\\.)*)"|'(?P<b>(?:[^'\\]|\\.)*)'"""
    r"""|\{(?P<c>[^}]*)\}|\[(?P<d>[^\]]*)\]|(?P<e>\S+))"""
)


def parse_comment(
    line: str, string_keys: Collection[str] = STRING_KEYS
) -> dict[str, Any]:
    """Returns the key-value pairs of a comment line, as ASE parses them.

    ASE converts every value that Python can parse as a number: `01.001_080` becomes
    1.00108 and `007` becomes 7, so that different ids may become equal.

    Args:
        line: second line of a frame.
        string_keys: keys whose values are not converted.
    """
    values: dict[str, Any] = key_val_str_to_dict(line)
    converted = {k for k in string_keys if not isinstance(values.get(k, ""), str)}
    if converted:
        for pair in _PAIR.finditer(line):
            if pair["key"] in converted:
                text = next(pair[k] for k in "abcde" if pair[k] is not None)
                values[pair["key"]] = re.sub(r"\\(.)", r"\1", text)
    return values
