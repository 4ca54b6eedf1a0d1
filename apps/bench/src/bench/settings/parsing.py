"""Safe parsing of JSON and YAML: limited size and depth, errors that name the file."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pydantic
import yaml

from bench.exceptions import BenchError, one_line

_MAX_LENGTH = 1_000_000
"""Characters of a YAML text; parsing more takes minutes."""

_MAX_NODES = 100_000
"""Values of a YAML text with all aliases expanded."""


def read_text(path: Path) -> str:
    """Reads a UTF-8 text file.

    Args:
        path: of the file.

    Raises:
        BenchError: it cannot be opened or is not UTF-8 text.
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
    """Reads a JSON file.

    Args:
        path: of the file.
        remedy: end of the message if it is damaged.

    Raises:
        BenchError: it cannot be opened or is not JSON.
    """
    return parse_json(read_text(path), str(path), remedy)


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """Reads a JSON file whose content is an object.

    Args:
        path: of the file.
        remedy: end of the message if it is damaged.

    Raises:
        BenchError: it cannot be opened or is not a JSON object.
    """
    content = read_json(path, remedy)
    if not isinstance(content, dict):
        raise BenchError(f"{path} is damaged (no keys and values): {remedy}")
    return content


def parse_json(text: str, name: str, remedy: str) -> Any:
    """Parses a JSON text.

    Args:
        text: JSON.
        name: of the file, for messages.
        remedy: end of the message if it is damaged.

    Raises:
        BenchError: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{name} is damaged ({_reason(error)}): {remedy}") from error


def read_yaml(path: Path) -> Any:
    """Reads a YAML file.

    Args:
        path: of the file.

    Raises:
        BenchError: it cannot be opened, or `parse_yaml` rejects it.
    """
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, name: str) -> Any:
    """Parses a YAML text.

    Args:
        text: YAML.
        name: of the file, for messages.

    Raises:
        BenchError: it is not YAML, repeats a key, or is too large.
    """
    if len(text) > _MAX_LENGTH:
        raise BenchError(
            f"{name} has {len(text)} characters; settings have at most {_MAX_LENGTH}."
        )
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_size(node, name)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except BenchError:
        raise
    except Exception as error:  # invalid tags raise other errors than YAMLError
        raise BenchError(
            f"{name} cannot be read: not valid YAML ({_reason(error)})."
        ) from error


def _check_size(root: yaml.Node, name: str) -> None:
    """Rejects texts whose expanded aliases are too large, before expanding them."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        cached = sizes.get(id(node))
        if cached == 0:
            raise BenchError(
                f"{name} cannot be read: not valid YAML, an anchor contains itself."
            )
        if cached is None:
            sizes[id(node)] = 0
            cached = sizes[id(node)] = 1 + sum(map(size, _children(node, name)))
        if cached > _MAX_NODES:
            raise BenchError(
                f"{name} contains more than {_MAX_NODES} values with all aliases "
                "expanded: it is not a settings file."
            )
        return cached

    size(root)


def _children(node: yaml.Node, name: str) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return node.value
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    counts = Counter(keys)
    repeated = next((key for key in counts if counts[key] > 1 and key != "<<"), None)
    if repeated is not None:
        raise BenchError(
            f"{name} cannot be read: not valid YAML, the key {repeated!r} is repeated."
        )
    return [child for pair in node.value for child in pair]


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if mark is None or not problem:
        return one_line(error).rstrip(".")
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def read_checked(path: Path, schema: type[pydantic.BaseModel], remedy: str) -> Any:
    """Reads a JSON file and checks it against a schema; further keys are allowed.

    Args:
        path: of the file.
        schema: that the content must satisfy.
        remedy: end of the message if it does not.

    Raises:
        BenchError: it is missing or does not satisfy the schema.
    """
    return parse_checked(read_text(path), str(path), schema, remedy)


def parse_checked(
    text: str, name: str, schema: type[pydantic.BaseModel], remedy: str
) -> Any:
    """Parses a JSON text and checks it against a schema; further keys are allowed.

    Args:
        text: to parse.
        name: of the file, for the error message.
        schema: that the content must satisfy.
        remedy: end of the message if it does not.

    Raises:
        BenchError: it is not JSON, or does not satisfy the schema.
    """
    content = parse_json(text, name, remedy)
    try:
        # From JSON, since strict validation rejects Python lists for tuples.
        schema.model_validate_json(json.dumps(content), strict=True)
    except (pydantic.ValidationError, BenchError) as error:
        reason = one_line(error)
        if isinstance(error, pydantic.ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")
        raise BenchError(f"{name} is damaged ({reason}): {remedy}") from error
    return content
