"""What an experiment is: a grid of runs and one preset, checked on the way in."""

import dataclasses
import difflib
import itertools
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any, Literal, get_args

import pydantic

from bench.exceptions import BenchError, abbreviate
from bench.labels import KINDS
from bench.settings.architectures import ModelSettings, Strict
from bench.settings.parsing import parse_yaml, read_text
from bench.settings.training import TrainSettings

SplitKind = Literal[
    "random",
    "cluster",
    "size",
    "seed-similarity",
    "max-min",
    "separated",
    "charge",
    "named",
]
BackboneName = Literal["mace", "mp4", "allegro", "dimenet"]

LAYERS = ("charge", "celli", "efa", "les")
"""Long-range layers by name; `+` composes them."""


def _composed(name: str) -> str:
    """A long-range entry of a grid: `none`, a layer, or layers joined by `+`."""
    parts = name.split("+")
    if name == "none" or (set(parts) <= set(LAYERS) and len(set(parts)) == len(parts)):
        return name
    raise ValueError(
        f"expected `none`, one of {', '.join(LAYERS)}, or several of them joined by `+`"
    )


LongRangeName = Annotated[str, pydantic.AfterValidator(_composed)]


def _different[Entry](entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Entries of a list of a grid, none of them twice: layers in any order are one."""
    seen: set[Any] = set()
    for entry in entries:
        content = frozenset(entry.split("+")) if isinstance(entry, str) else entry
        if content in seen:
            raise ValueError(f"{entry!r} is there twice")
        seen.add(content)
    return entries


Listed = (pydantic.Field(min_length=1), pydantic.AfterValidator(_different))
"""Of every list of a grid: at least one entry, each once."""

Seed = Annotated[int, pydantic.Field(ge=0, lt=2**31)]


class SplitSettings(Strict):
    """Settings of the split into training, validation and test sets."""

    test_fraction: float = pydantic.Field(default=0.3, gt=0, lt=1)
    """Fraction of the structures in the test set."""
    validation_fraction: float = pydantic.Field(default=0.1, gt=0, lt=1)
    """Fraction of the training set used for validation."""
    clusters: int = pydantic.Field(default=20, ge=2, le=100_000)
    """Number of clusters of the cluster split."""
    fraction_of: Literal["samples", "clusters"] = "samples"
    """Quantity that `test_fraction` refers to in the cluster split; the published split
    takes a fraction of the clusters."""
    max_train: int | None = pydantic.Field(default=None, ge=1, le=10**9)
    """Largest number of atoms in the training set of the size split; None to use
    `test_fraction`."""
    test_ids: str | None = None
    """Pattern of the test ids of the named split, such as `*_val/*`."""
    new_elements: Literal["exclude", "error"] = "exclude"
    """Test and validation structures with elements that are not in the training set are
    excluded and reported, or an error."""


class Grid(Strict):
    """All combinations of its lists are trained and compared."""

    dataset: Annotated[str, pydantic.Field(min_length=1)]
    splits: Annotated[tuple[SplitKind, ...], *Listed] = ("random", "cluster")
    backbones: Annotated[tuple[BackboneName, ...], *Listed] = ("mace",)
    long_range: Annotated[tuple[LongRangeName, ...], *Listed] = ("none", "les")
    seeds: Annotated[tuple[Seed, ...], *Listed] = (0,)
    split: SplitSettings = SplitSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    train_of: dict[BackboneName, dict[str, Any]] = {}
    """Settings of `train` that one backbone has for itself."""

    @pydantic.model_validator(mode="after")
    def _own_settings_fit(self) -> "Grid":
        for backbone in self.train_of:
            try:
                self.training(backbone)
            except pydantic.ValidationError as error:
                place = f"train_of.{backbone}"
                raise BenchError(_sentence(error, place, TrainSettings)) from error
        return self

    def training(self, backbone: BackboneName) -> TrainSettings:
        """How the weights of a backbone are found."""
        # More message passing is trained like the backbone it extends.
        other = "mace" if backbone == "mp4" else backbone
        own = self.train_of.get(backbone, self.train_of.get(other, {}))
        return TrainSettings(**_merged(self.train.model_dump(exclude_unset=True), own))

    def runs(self) -> list["Run"]:
        """One run for each combination."""
        every = itertools.product(
            self.splits, self.seeds, self.backbones, self.long_range
        )
        return [Run(self.dataset, s, b, r, seed) for s, seed, b, r in every]


def _merged(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with changes, key by key also further down."""
    deeper = lambda old, new: (
        _merged(old, new) if isinstance(old, dict) and isinstance(new, Mapping) else new
    )
    return values | {k: deeper(values.get(k), v) for k, v in changes.items()}


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and its evaluation."""

    dataset: str
    split: SplitKind
    backbone: BackboneName
    long_range: str
    seed: int

    @property
    def model(self) -> str:
        """Backbone and long-range layer, as in tables."""
        return self.backbone + (
            "" if self.long_range == "none" else f"+{self.long_range}"
        )

    @property
    def has_charges(self) -> bool:
        """Whether the model's charges are physical, to be compared with labels."""
        return "celli" in self.long_range.split("+")

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is compared with labels.

        Latent charges are no labelled charges, but their dipole and its derivatives
        are the model's, up to a sign that energies do not decide.
        """
        responds = self.has_charges or "les" in self.long_range.split("+")
        beyond = {"charge": self.has_charges, "dipole": responds, "born": responds}
        return tuple(kind for kind in KINDS if beyond.get(kind, True))

    @property
    def name(self) -> str:
        """Folder of the run."""
        return f"{self.split}-{self.model}-seed{self.seed}"


def presets() -> list[str]:
    """Names of the grids that come with the package."""
    folder = resources.files("bench") / "presets"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir())


def preset_text(name: str) -> str:
    """The YAML of a grid that comes with the package.

    Raises:
        BenchError: there is no such grid.
    """
    if name not in presets():
        raise BenchError(
            f"There is no grid {name!r}: give the path of a YAML file, or one of "
            f"{', '.join(presets())}."
        )
    return (resources.files("bench") / "presets" / f"{name}.yaml").read_text()


def load_grid(source: str, overrides: list[str] | None = None) -> Grid:
    """A grid by name or from a YAML file, with `key.sub=value` overrides.

    Args:
        source: a name of `presets()`, or the path of a YAML file.
        overrides: each `key.sub=value`; None for none.

    Raises:
        BenchError: no such grid, YAML that cannot be read, unknown keys or bad values.

    Examples:
        >>> grid = bench.load_grid("mine.yaml", ["train.epochs=2"])
        >>> [run.name for run in grid.runs()]
    """
    own = source not in presets() and Path(source).is_file()
    text = read_text(Path(source)) if own else preset_text(source)
    values = parse_yaml(text, source) or {}
    if not isinstance(values, dict):
        raise BenchError(
            f"{source} must hold keys and values, such as `dataset: ions`."
        )
    for override in overrides or []:
        _override(values, override)
    return checked_grid(values, source)


def checked_grid(values: Any, source: str) -> Grid:
    """A grid of values that somebody wrote.

    Args:
        values: what YAML holds.
        source: of the values, for messages.

    Raises:
        BenchError: unknown keys or bad values.
    """
    try:
        return Grid.model_validate(values)
    except pydantic.ValidationError as error:
        raise BenchError(_sentence(error, source)) from error


def _override(values: dict[str, Any], text: str) -> None:
    key, found, value = text.partition("=")
    if not found or not key:
        raise BenchError(f"An override reads `key.sub=value`, got {text!r}.")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise BenchError(f"{key!r} goes below {parent!r}, which holds no keys.")
    values[last] = parse_yaml(value, f"-o {abbreviate(text)}")


def _sentence(error: pydantic.ValidationError, source: str, model: Any = Grid) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        said = first["msg"].removeprefix("Value error, ")
        return f"{source}: {where}: {said} (got {shorten(repr(first['input']), 80)})."
    for part in first["loc"][:-1]:
        # A number is a place in a list, whose annotation is tuple[item, ...].
        inner = isinstance(part, int)
        model = get_args(model)[0] if inner else model.model_fields[part].annotation
    near = difflib.get_close_matches(str(first["loc"][-1]), model.model_fields, 1)
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else (f"known keys are {', '.join(model.model_fields)}.")
    )
    return f"{source}: unknown key {where!r}; {hint}"
