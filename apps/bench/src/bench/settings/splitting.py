"""Settings of splits."""

from typing import Annotated, Literal

import pydantic

from bench.settings.installed import (
    DESCRIPTORS,
    SPLITTERS,
    check_name,
    installed_names,
)
from bench.settings.schema import Strict

SplitName = Annotated[
    str,
    pydantic.AfterValidator(lambda name: check_name(name, installed_names(SPLITTERS))),
]
"""An entry point of the group `bench.splitters`, such as `random` or `cluster`."""

DescriptorName = Annotated[
    str,
    pydantic.AfterValidator(
        lambda name: check_name(name, installed_names(DESCRIPTORS))
    ),
]


class SplitSettings(Strict):
    """Settings of the split into training, validation and test sets."""

    descriptor: DescriptorName = "mean-soap"
    """Descriptor of the splits by similarity and of maps: `mean-soap`, or an entry
    point of the group `bench.descriptors` of an installed package."""
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
