"""What an experiment is: a grid of runs and one preset, checked on the way in."""

import dataclasses
import difflib
import itertools
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pydantic
import yaml

from ._errors import BenchError
from ._shapes import ModelSettings, Strict

Splitting = Literal[
    "random",
    "cluster",
    "size",
    "similarity",
    "farthest",
    "separated",
    "charge",
    "named",
]
BackboneName = Literal["mace", "mp4", "allegro", "dimenet"]

LEARNED = ("energy", "force", "stress", "charge", "dipole")
"""What a loss may weigh."""

KINDS = (*LEARNED, "born")
"""What is labelled and compared."""

FIELDS = {"force": "forces", "charge": "charges", "born": "born_charges"}
"""The name of a kind's labels where it differs from the kind."""

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


class LossSettings(Strict):
    """Weights of the mean squared errors that training makes small.

    Labels that a structure lacks count nowhere.
    """

    form: Literal["atoms", "published"] = "atoms"
    """`atoms` takes energies an atom and means over all atoms. `published` takes total
    energies, a structure's in proportion to its atoms over their mean, and means over
    each structure's atoms, then over structures."""
    energy: float = pydantic.Field(default=10.0, ge=0)
    """Of energies in eV an atom; of total energies in eV in the published form."""
    force: float = pydantic.Field(default=1.0, ge=0)
    """Of force components in eV/Å."""
    stress: float = pydantic.Field(default=0.0, ge=0)
    """Of stress components in eV/Å^3."""
    charge: float = pydantic.Field(default=10.0, ge=0)
    """Of charges in e, where the model's charges are physical (CELLI)."""
    dipole: float = pydantic.Field(default=0.0, ge=0)
    """Of components of the total dipole in e Å, where the model has charges."""
    huber: float | None = pydantic.Field(default=None, gt=0)
    """Errors beyond this many of their units count linearly; none: all are squared."""

    @property
    def weights(self) -> dict[str, float]:
        """The weights by kind of label."""
        return {kind: getattr(self, kind) for kind in LEARNED}

    def only(self, kind: str) -> bool:
        """Whether nothing but one kind of label is learned from."""
        return not any(w for k, w in self.weights.items() if k != kind)

    def without(self, kinds: Collection[str]) -> "LossSettings":
        """The same, with no weight on some kinds of label."""
        return self.model_copy(update=dict.fromkeys(kinds, 0.0))


Part = Literal["backbone", "long_range", "charge", "celli", "efa", "les"]
"""The backbone, all long-range layers, or those of one name."""


class Phase(Strict):
    """Some epochs with a loss and frozen parts of their own."""

    epochs: int = pydantic.Field(ge=1)
    loss: LossSettings = LossSettings()
    frozen: tuple[Part, ...] = ()


class TrainSettings(Strict):
    """How weights are found."""

    epochs: int = pydantic.Field(default=20, ge=1)
    batch: int = pydantic.Field(default=4, ge=1)
    """Structures a device takes at a time."""
    accumulate: int = pydantic.Field(default=1, ge=1)
    """Batches whose gradients each device sums before a step."""
    devices: int | None = pydantic.Field(default=None, ge=1)
    """How many share each step; all that JAX finds if absent."""
    learning_rate: float = pydantic.Field(default=0.01, gt=0)
    """Falls as the square of the remaining steps."""
    warmup: float = pydantic.Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero."""
    weight_decay: float = pydantic.Field(default=1e-5, ge=0)
    loss: LossSettings = LossSettings()
    frozen: tuple[Part, ...] = ()
    """Parts that keep the weights they start with."""
    pretrain: tuple[Phase, ...] = ()
    """Phases before the `epochs` above, such as one on charges alone."""
    patience: int | None = pydantic.Field(default=None, ge=1)
    """Stop after so many epochs without a smaller validation loss."""
    clip: float = pydantic.Field(default=10.0, gt=0)
    """Largest norm of the gradient."""
    ema: float = pydantic.Field(default=0.99, ge=0, lt=1)
    """Largest decay of the averaged weights that are evaluated; smaller at first."""
    buckets: int = pydantic.Field(default=1, ge=1)
    """Shapes of batches; each costs one compilation."""

    @property
    def schedule(self) -> tuple[Phase, ...]:
        """The phase of every epoch."""
        last = Phase(epochs=self.epochs, loss=self.loss, frozen=self.frozen)
        return tuple(p for p in (*self.pretrain, last) for _ in range(p.epochs))

    def without(self, kinds: Collection[str]) -> "TrainSettings":
        """The same, learning nothing from some kinds of label.

        Args:
            kinds: of `LEARNED`; phases that learn from nothing else are left out.
        """
        phases = [
            p.model_copy(update={"loss": p.loss.without(kinds)})
            for p in self.pretrain
            if any(p.loss.without(kinds).weights.values())
        ]
        loss = self.loss.without(kinds)
        return self.model_copy(update={"loss": loss, "pretrain": tuple(phases)})


class SplitSettings(Strict):
    """How test and validation parts are drawn."""

    test_share: float = pydantic.Field(default=0.3, gt=0, lt=1)
    """Of the structures."""
    validation_share: float = pydantic.Field(default=0.1, gt=0, lt=1)
    """Of the training part."""
    clusters: int = pydantic.Field(default=20, ge=2)
    share_of: Literal["samples", "clusters"] = "samples"
    """What the cluster split counts; the published draw takes a number of clusters."""
    max_train: int | None = pydantic.Field(default=None, ge=1)
    """Atoms of the largest structure that the size split trains on; `test_share`
    decides if absent."""
    test_ids: str | None = None
    """Pattern of the ids that the named split tests on, such as `*_val/*`."""
    unseen: Literal["leave out", "refuse"] = "leave out"
    """What to do with structures of elements that training never sees: they are named
    and left out of the test, or the run fails."""


class Grid(Strict):
    """All combinations of its lists are trained and compared."""

    dataset: str
    splits: tuple[Splitting, ...] = ("random", "cluster")
    backbones: tuple[BackboneName, ...] = ("mace",)
    long_range: tuple[LongRangeName, ...] = ("none", "les")
    seeds: tuple[int, ...] = (0,)
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
    split: Splitting
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

    Raises:
        BenchError: no such grid, YAML that cannot be read, unknown keys or bad values.
    """
    own = source not in presets() and Path(source).is_file()
    text = Path(source).read_text() if own else preset_text(source)
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise BenchError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise BenchError(
            f"{source} must hold keys and values, such as `dataset: ions`."
        )
    for override in overrides or []:
        _override(values, override)
    try:
        return Grid(**values)
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
    values[last] = yaml.safe_load(value)


def _sentence(error: pydantic.ValidationError, source: str, model: Any = Grid) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        return f"{source}: {where}: {first['msg']} (got {first['input']!r})."
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
