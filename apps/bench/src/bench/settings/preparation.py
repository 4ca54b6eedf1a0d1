"""Settings of `bench prepare`: source, keys of its labels, units and filters."""

from typing import Annotated, Literal

import pydantic

from bench.labels import LABELS
from bench.settings.reading import (
    DEFAULT_KEYS,
    Keys,
    ReadOptions,
    ReadSettings,
    check_virial,
    unknown_label,
)
from bench.settings.schema import Strict

RecipeName = Literal["qmof", "odac25", "omol25"]


def _check_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    for label in labels:
        if label not in LABELS:
            raise ValueError(unknown_label(label, LABELS))
    return labels


Labels = Annotated[tuple[str, ...], pydantic.AfterValidator(_check_labels)]
Atoms = Annotated[int, pydantic.Field(ge=1, le=10**9)]


class Filters(Strict):
    """Conditions that structures must meet; the default keeps all."""

    recipe: RecipeName | None = None
    """Published subset, applied in addition to the other filters."""
    total_charges: tuple[float, ...] = ()
    """Keep structures with one of these total charges, e; structures without one are
    neutral. An empty list allows all."""
    spins: tuple[int, ...] = ()
    """Keep structures with one of these multiplicities. An empty list allows all."""
    min_atoms: Atoms = 1
    """Smallest number of atoms of a structure."""
    max_atoms: Atoms | None = None
    """Largest number of atoms of a structure; null means no limit."""
    max_force: float | None = pydantic.Field(default=None, gt=0, le=1e9)
    """Largest force on an atom, eV/Å; structures without forces are kept."""
    require: Labels = ()
    """Keep structures with all these labels, such as `[energy, forces]`."""
    without: Labels = ()
    """Do not store these labels."""
    sample: int | None = pydantic.Field(default=None, ge=1, le=10**9)
    """Draw this number of structures at random after all other filters; the draw
    depends only on their ids. Null keeps all."""


class PreparationSettings(Strict):
    """Settings of `bench prepare prepare.yaml`; every key but `source` may be omitted.

    They determine the prepared dataset.
    """

    source: Annotated[str, pydantic.Field(min_length=1)]
    """A file, a folder, or a pattern such as `runs/*.extxyz`, relative to the working
    directory."""
    strict: bool = False
    """Stop at the first structure that cannot be used, instead of leaving it out."""
    atomic_energies: str | None = None
    """YAML file of atomic energies, eV (`H: -13.6`); `atoms` takes those of isolated
    atoms in the source; null leaves them to be fitted to the training set."""
    keys: Keys = pydantic.Field(
        default={},
        description="Keys in the source, by label, such as `{energy: REF_energy}`; a "
        "label without an entry is read under the default key of the format, one with "
        "an empty key not at all. `+` adds scalars. A `virial` replaces the stress: "
        "minus the stress times the volume. Labels: "
        f"{', '.join(DEFAULT_KEYS)}.",
    )
    read: ReadSettings = ReadSettings()
    filters: Filters = Filters()

    @pydantic.model_validator(mode="after")
    def _check_virial(self) -> "PreparationSettings":
        check_virial(self.keys, self.read.stress_unit)
        return self

    @property
    def read_options(self) -> ReadOptions:
        """Settings of the reader."""
        return ReadOptions(keys=self.keys, **self.read.model_dump())
