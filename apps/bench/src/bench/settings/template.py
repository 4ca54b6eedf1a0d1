"""Commented YAML of all settings of a command, made from their schema."""

import enum
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pydantic
import yaml
from pydantic.fields import FieldInfo

from bench.settings.preparation import PreparationSettings
from bench.settings.simulation import StudySettings

COMMANDS: dict[str, pydantic.BaseModel] = {
    "md": StudySettings(models=(Path("runs/quick"),)),
    "prepare": PreparationSettings(source="mine.extxyz"),
}
"""Settings that the template of each command contains: an example, else defaults."""

_WIDTH = 88
_MAX_DECIMAL = 1e6
_BOUNDS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
"""Constraints of `annotated_types`, in words."""


def template_text(settings: pydantic.BaseModel) -> str:
    """Returns settings as YAML with the description, range and choices of each key.

    Args:
        settings: values to write, such as one of `COMMANDS`.
    """
    header = _comment(_first_paragraph(type(settings)), "")
    return "\n".join([*header, "", *_lines(settings, "")]) + "\n"


def _lines(settings: pydantic.BaseModel, indent: str) -> Iterator[str]:
    values = settings.model_dump(mode="json")
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, pydantic.BaseModel):
            yield ""
            yield from _comment(_first_paragraph(type(value)), indent)
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            yield from _comment(_description(field), indent)
            yield f"{indent}{name}: {_yaml(values[name])}"


def _first_paragraph(schema: type[pydantic.BaseModel]) -> str:
    return " ".join((schema.__doc__ or "").split("\n\n")[0].split())


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# ",
        break_on_hyphens=False,
    )


def _description(field: FieldInfo) -> str:
    """Returns the description of a field, its choices and its range."""
    parts = [" ".join((field.description or "").split()).rstrip(".")]
    choices = list(_choices(field.annotation))
    if choices and not all(str(choice) in parts[0] for choice in choices):
        parts.append(f"One of {', '.join(map(str, choices))}")
    parts.append(_range(field))
    return ". ".join(part for part in parts if part) + "."


def _choices(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        yield from (member.value for member in annotation)
    elif get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for inner in get_args(annotation):
            yield from _choices(inner)


def _range(field: FieldInfo) -> str:
    """Returns the range of a number, such as `0 to 1000`; empty if there is none."""
    bounds = {
        name: _number(getattr(constraint, name))
        for constraint in field.metadata
        for name in _BOUNDS
        if hasattr(constraint, name)
    }
    if {"ge", "le"} <= set(bounds):
        return f"{bounds['ge']} to {bounds['le']}"
    parts = [
        f"{words} {bounds[name]}" for name, words in _BOUNDS.items() if name in bounds
    ]
    return ", ".join(parts).capitalize()


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < _MAX_DECIMAL else str(value)


def _yaml(value: Any) -> str:
    """Returns a value in YAML, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")
