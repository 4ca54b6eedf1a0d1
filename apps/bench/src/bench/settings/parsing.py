"""JSON and YAML that others wrote: small, not nested without end, named in errors."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pydantic
import yaml

from bench.exceptions import BenchError, one_line

_LONGEST = 1_000_000
"""Characters of a YAML text; parsing more of them takes minutes."""

_MOST_NODES = 100_000
"""Values of a YAML text once its anchors are written out."""


def read_text(path: Path) -> str:
    """The content of a UTF-8 file.

    Args:
        path: of the file.

    Raises:
        BenchError: it cannot be opened, or holds something else than text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BenchError(
            f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8."
        ) from error


def read_json(path: Path, remedy: str) -> Any:
    """What a JSON file holds.

    Args:
        path: of the file.
        remedy: what to do where it is damaged; ends the message.

    Raises:
        BenchError: it cannot be opened, or is no JSON.
    """
    return parse_json(read_text(path), str(path), remedy)


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """What a JSON file of keys and values holds.

    Args:
        path: of the file.
        remedy: what to do where it is damaged; ends the message.

    Raises:
        BenchError: it cannot be opened, or holds something else.
    """
    found = read_json(path, remedy)
    if not isinstance(found, dict):
        raise BenchError(f"{path} is damaged (no keys and values): {remedy}")
    return found


def parse_json(text: str, name: str, remedy: str) -> Any:
    """What a JSON text holds.

    Args:
        text: JSON.
        name: of the text, for messages.
        remedy: what to do where it is damaged; ends the message.

    Raises:
        BenchError: it is no JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{name} is damaged ({_reason(error)}): {remedy}") from error


def read_yaml(path: Path) -> Any:
    """What a YAML file holds.

    Args:
        path: of the file.

    Raises:
        BenchError: as `parse_yaml`, or it cannot be opened.
    """
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, name: str) -> Any:
    """What a YAML text holds.

    Args:
        text: YAML.
        name: of the text, for messages.

    Raises:
        BenchError: it is no YAML, names a key twice, or is too large once its anchors
            are written out.
    """
    if len(text) > _LONGEST:
        raise BenchError(
            f"{name} has {len(text)} characters; settings have at most {_LONGEST}."
        )
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check(node, name)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except BenchError:
        raise
    except Exception as error:  # besides YAMLError, damaged tags raise anything
        raise BenchError(
            f"{name} cannot be read: not valid YAML ({_reason(error)})."
        ) from error


def _check(root: yaml.Node, name: str) -> None:
    """Refuses what anchors blow up, before anything is built."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known == 0:
            raise BenchError(
                f"{name} cannot be read: not valid YAML, an anchor holds itself."
            )
        if known is None:
            sizes[id(node)] = 0
            known = sizes[id(node)] = 1 + sum(map(size, _children(node, name)))
        if known > _MOST_NODES:
            raise BenchError(
                f"{name} holds more than {_MOST_NODES} values once its anchors are "
                "written out; settings are far fewer."
            )
        return known

    size(root)


def _children(node: yaml.Node, name: str) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return node.value
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    counts = Counter(keys)
    twice = next((key for key in counts if counts[key] > 1 and key != "<<"), None)
    if twice is not None:
        raise BenchError(
            f"{name} cannot be read: not valid YAML, the key {twice!r} stands twice."
        )
    return [part for pair in node.value for part in pair]


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if mark is None or not problem:
        return one_line(error).rstrip(".")
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def read_checked(path: Path, kind: type[pydantic.BaseModel], remedy: str) -> Any:
    """What a JSON file holds.

    Args:
        path: of the file.
        kind: what it holds at least.
        remedy: what to do where it is damaged; ends the message.

    Raises:
        BenchError: it is missing, or holds something else.
    """
    return parse_checked(read_text(path), str(path), kind, remedy)


def parse_checked(
    text: str, name: str, kind: type[pydantic.BaseModel], remedy: str
) -> Any:
    """Parses a JSON text and checks it against a schema; further keys are allowed.

    Args:
        text: to parse.
        name: of the file, for the error message.
        kind: schema that the content must satisfy.
        remedy: what to do if it does not; ends the message.

    Raises:
        BenchError: it is not JSON, or does not satisfy the schema.
    """
    content = parse_json(text, name, remedy)
    try:
        # As JSON, for strictness knows no tuples in lists.
        kind.model_validate_json(json.dumps(content), strict=True)
    except (pydantic.ValidationError, BenchError) as error:
        reason = one_line(error)
        if isinstance(error, pydantic.ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")
        raise BenchError(f"{name} is damaged ({reason}): {remedy}") from error
    return content
