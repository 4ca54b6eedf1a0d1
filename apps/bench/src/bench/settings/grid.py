"""Grids of runs: the schema, the presets and validated loading."""

import dataclasses
import itertools
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import pydantic

from bench.exceptions import BenchError
from bench.labels import LABELS_BY_KIND
from bench.settings.architectures import BackboneName, ModelSettings
from bench.settings.installed import check_name, layer_names
from bench.settings.parsing import read_text
from bench.settings.schema import Strict, override, parse_settings, validate
from bench.settings.splitting import SplitName, SplitSettings
from bench.settings.training import TrainSettings


def _check_long_range(name: str) -> str:
    """Accepts `none`, one layer, or different layers joined by `+`."""
    parts = name.split("+")
    if len(set(parts)) < len(parts):
        raise ValueError("a layer is repeated")
    if name != "none":
        names = layer_names()
        for part in parts:
            check_name(part, names)
    return name


LongRangeName = Annotated[str, pydantic.AfterValidator(_check_long_range)]
"""`none`, `charge`, `celli`, `efa`, `les`, an entry point of the group
`backbones.long_range` of an installed package, or a sum of these: `celli+efa`."""


def _check_unique[Entry](entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Rejects repeated entries; the order of layers in a sum does not matter."""
    seen: set[Any] = set()
    for entry in entries:
        content = frozenset(entry.split("+")) if isinstance(entry, str) else entry
        if content in seen:
            raise ValueError(f"{entry!r} is repeated")
        seen.add(content)
    return entries


Listed = (pydantic.Field(min_length=1), pydantic.AfterValidator(_check_unique))
"""Constraints on the lists of a grid: at least one entry, no repeated ones."""

Seed = Annotated[int, pydantic.Field(ge=0, lt=2**31)]


class Grid(Strict):
    """An experiment: one run for each combination of the lists."""

    dataset: Annotated[str, pydantic.Field(min_length=1)]
    splits: Annotated[tuple[SplitName, ...], *Listed] = ("random", "cluster")
    backbones: Annotated[tuple[BackboneName, ...], *Listed] = ("mace",)
    long_range: Annotated[tuple[LongRangeName, ...], *Listed] = ("none", "les")
    seeds: Annotated[tuple[Seed, ...], *Listed] = (0,)
    split: SplitSettings = SplitSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    train_overrides: dict[BackboneName, dict[str, Any]] = {}
    """Changes to `train` for single backbones."""

    @pydantic.model_validator(mode="after")
    def _check_overrides(self) -> "Grid":
        for backbone in self.train_overrides:
            values = self._train_values(backbone)
            validate(TrainSettings, values, f"train_overrides.{backbone}")
        return self

    def training(self, backbone: BackboneName) -> TrainSettings:
        """Returns the training settings of a backbone.

        Args:
            backbone: name as in the grid.
        """
        return TrainSettings(**self._train_values(backbone))

    def _train_values(self, backbone: BackboneName) -> dict[str, Any]:
        # `mp4` is MACE with more interactions.
        other = "mace" if backbone == "mp4" else backbone
        changes = self.train_overrides
        changes = changes.get(backbone, changes.get(other, {}))
        return _merged(self.train.model_dump(exclude_unset=True), changes)

    def runs(self) -> list["Run"]:
        """Returns one run for each combination of the lists."""
        combinations = itertools.product(
            self.splits, self.seeds, self.backbones, self.long_range
        )
        return [Run(self.dataset, s, b, r, seed) for s, seed, b, r in combinations]


def _merged(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested values with changes, merged key by key."""
    merge = lambda old, new: (
        _merged(old, new) if isinstance(old, dict) and isinstance(new, Mapping) else new
    )
    return values | {k: merge(values.get(k), v) for k, v in changes.items()}


@dataclasses.dataclass(frozen=True)
class Run:
    """One combination of a grid: a training and its evaluation."""

    dataset: str
    split: str
    backbone: BackboneName
    long_range: str
    seed: int

    @property
    def model(self) -> str:
        """Backbone and long-range layers, as in tables."""
        return self.backbone + (
            "" if self.long_range == "none" else f"+{self.long_range}"
        )

    @property
    def has_charges(self) -> bool:
        """Whether the model has physical charges, which are compared with labels."""
        return "celli" in self.long_range.split("+")

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of labels that the model predicts.

        Latent charges are not compared with labels, but their dipole and its
        derivatives are; energies determine these up to a sign.
        """
        has_dipole = self.has_charges or "les" in self.long_range.split("+")
        predicts = {
            "all": True,
            "charges": has_dipole,
            "physical charges": self.has_charges,
            "none": False,
        }
        return tuple(k for k, v in LABELS_BY_KIND.items() if predicts[v.predicted_by])

    @property
    def name(self) -> str:
        """Name of the run and of its folder."""
        return f"{self.split}-{self.model}-seed{self.seed}"


def presets() -> list[str]:
    """Returns the names of the grids that come with the package."""
    folder = resources.files("bench") / "presets"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir())


def preset_text(name: str) -> str:
    """Returns the YAML text of a grid that comes with the package.

    Args:
        name: one of `presets()`.

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
    """Loads a grid by name or from a YAML file.

    Args:
        source: one of `presets()`, or the path of a YAML file.
        overrides: changes such as `train.epochs=2`; None changes nothing.

    Raises:
        BenchError: the grid does not exist, is not valid YAML, or has unknown keys or
            invalid values.

    Examples:
        >>> grid = bench.load_grid("mine.yaml", ["train.epochs=2"])
        >>> [run.name for run in grid.runs()]
    """
    is_file = source not in presets() and Path(source).is_file()
    text = read_text(Path(source)) if is_file else preset_text(source)
    values = parse_settings(text, source)
    override(values, overrides or [])
    return validate(Grid, values, source)
