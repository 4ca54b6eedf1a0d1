"""Base of all settings, and their validation with one-line error messages."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, get_args, get_origin

import pydantic

from bench.exceptions import BenchError, abbreviate
from bench.settings.parsing import parse_yaml, read_text

_MAX_ERRORS = 5
"""Number of errors that a message lists."""


class Strict(pydantic.BaseModel):
    """Base of all settings: no unknown keys, infinite numbers or `true` as a number.

    The docstring of a field is its description, in templates too.
    """

    model_config = pydantic.ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _reject_booleans(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Rejects booleans for other fields; Python treats `True` as 1."""
        field = cls.model_fields[info.field_name or ""]
        items = value if isinstance(value, list | tuple) else (value,)
        if field.annotation is not bool and any(isinstance(x, bool) for x in items):
            raise ValueError("expected a value that is not true or false")
        return value


def is_settings_file(path: str | Path) -> bool:
    """Returns whether an argument of a command is a settings file, by its suffix.

    Args:
        path: the argument.
    """
    return Path(path).suffix in (".yaml", ".yml")


def load_settings[S: pydantic.BaseModel](
    schema: type[S],
    path: Path | None,
    options: Mapping[str, Any],
    overrides: Sequence[str],
    *,
    command: str,
) -> S:
    """Reads the settings of a command: those of a file, changed by its options.

    Args:
        schema: of the settings.
        path: YAML file; None starts from the defaults.
        options: values by key, such as `simulation.mode`; those that are None change
            nothing.
        overrides: changes such as `simulation.mode=dev`, applied last.
        command: for messages, if there is no file.

    Raises:
        BenchError: unknown keys or invalid values.
    """
    values = {} if path is None else read_settings(path)
    for key, value in options.items():
        if value is not None:
            set_value(values, key, value)
    override(values, overrides)
    return validate(schema, values, command if path is None else str(path))


def read_settings(path: Path) -> dict[str, Any]:
    """Reads a YAML file of settings.

    Args:
        path: of the file.

    Raises:
        BenchError: it cannot be read, or does not contain keys and values.
    """
    return parse_settings(read_text(path), str(path))


def parse_settings(text: str, source: str) -> dict[str, Any]:
    """Parses a YAML text of settings.

    Args:
        text: YAML.
        source: name of the file, for messages.

    Raises:
        BenchError: it is not YAML, or does not contain keys and values.
    """
    values = parse_yaml(text, source) or {}
    if not isinstance(values, dict):
        raise BenchError(
            f"{source} must contain keys and values, such as `dataset: ions`."
        )
    return values


def override(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Changes settings in place.

    Args:
        values: nested settings.
        overrides: changes such as `train.epochs=2`, with values in YAML.

    Raises:
        BenchError: one of them has another form.
    """
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise BenchError(f"An override is written `key.sub=value`, got {text!r}.")
        set_value(values, key, parse_yaml(value, f"-o {abbreviate(text)}"))


def set_value(values: dict[str, Any], key: str, value: Any) -> None:
    """Sets one value of nested settings in place.

    Args:
        values: nested settings.
        key: such as `train.epochs`.
        value: to set.

    Raises:
        BenchError: a part of the key is a value without keys.
    """
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise BenchError(f"{key!r}: {parent!r} has no keys.")
    values[last] = value


def validate[S: pydantic.BaseModel](schema: type[S], values: Any, source: str) -> S:
    """Checks settings against their schema.

    Args:
        schema: of the settings.
        values: nested settings, such as the content of a YAML file.
        source: name of the file, for messages.

    Raises:
        BenchError: unknown keys or invalid values.
    """
    try:
        return schema.model_validate(values)
    except pydantic.ValidationError as error:
        raise BenchError(_message(error, source, schema)) from error


def _message(error: pydantic.ValidationError, source: str, schema: Any) -> str:
    """Returns all errors on one line: unknown keys first, missing keys last."""
    rank = {"extra_forbidden": 0, "missing": 2}
    errors = sorted(error.errors(), key=lambda entry: rank.get(entry["type"], 1))
    shown = [_describe(entry, schema) for entry in errors[:_MAX_ERRORS]]
    more = len(errors) - _MAX_ERRORS
    if more > 0:
        shown.append(f"There are {more} more.")
    return f"{source}: {' '.join(shown)}"


def _describe(error: Any, schema: Any) -> str:
    """Returns one error of pydantic as a sentence."""
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {_suggestion(schema, error['loc'])}"
    if error["type"] == "missing":
        return f"{key} is missing."
    problem = error["msg"].removeprefix("Value error, ")
    return f"{key}: {problem} (got {shorten(repr(error['input']), 80)})."


def _suggestion(schema: Any, location: Sequence[str | int]) -> str:
    """Names the key that was probably meant, on the same level or below any section."""
    root = schema
    for part in location[:-1]:
        # An integer is an index into a list, whose annotation is tuple[item, ...].
        if isinstance(part, int):
            schema = get_args(schema)[0]
        elif get_origin(schema) is dict:
            schema = get_args(schema)[1]
        else:
            schema = schema.model_fields[part].annotation
    name = str(location[-1])
    close = difflib.get_close_matches(name, schema.model_fields, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    below = {key.rpartition(".")[2]: key for key in _nested_keys(root)}
    close = difflib.get_close_matches(name, below, 1, cutoff=0.8)
    if close:
        return f"did you mean {below[close[0]]!r}?"
    return f"known keys are {', '.join(schema.model_fields)}."


def _nested_keys(schema: type[pydantic.BaseModel], prefix: str = "") -> Iterator[str]:
    """Yields the keys of all sections, such as `train.epochs`."""
    for name, field in schema.model_fields.items():
        yield prefix + name
        section = field.annotation
        if isinstance(section, type) and issubclass(section, pydantic.BaseModel):
            yield from _nested_keys(section, f"{prefix}{name}.")
