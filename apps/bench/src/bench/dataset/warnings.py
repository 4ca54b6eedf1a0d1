"""Warnings about likely mistakes in a dataset."""

import numpy as np
from ase import units

from bench.dataset.charge_sums import mismatched_charges
from bench.dataset.composition import label_distribution
from bench.dataset.duplicates import find_duplicates
from bench.dataset.opening import Dataset
from bench.dataset.unread_labels import key_option, unread_labels

LARGEST_STRESS = 100.0
"""GPa; larger values are probably virials or in another unit."""

SUMS = ("energy", "total_charge")
"""Options that accept a sum of keys."""


def warnings_of(data: Dataset, *, split_at_random: bool = True) -> list[str]:
    """Returns one sentence per likely mistake.

    Args:
        data: any dataset.
        split_at_random: whether the split is random, so that duplicates can be in both
            parts.
    """
    warnings = [
        *_unread_labels(data),
        _large_stress(data),
        _stress_without_cell(data),
        _charge_sums(data),
    ]
    if split_at_random:
        warnings.append(_duplicates(data))
    return [warning for warning in warnings if warning]


def _unread_labels(data: Dataset) -> list[str]:
    """Returns warnings about labels under keys that are not read."""
    if data.header is None:
        return []
    source, warnings = data.header["source"], []
    for label, keys in unread_labels(data.header).items():
        listed = ", ".join(f"`{key}`" for key in keys)
        if len(keys) == 1:
            advice = f"`bench prepare` with `{key_option(label, keys[0])}` reads it"
            warnings.append(f"{listed} of {source} is not read: {advice}")
        else:
            total = f", `{keys[0]}+{keys[1]}` a sum" if label in SUMS else ""
            option = key_option(label, "KEY")
            advice = f"`bench prepare` with `{option}` reads one of them{total}"
            warnings.append(f"{listed} of {source} are not read: {advice}")
    return warnings


def _large_stress(data: Dataset) -> str:
    stress = label_distribution(data.columns).magnitudes.get("stress")
    largest = 0.0 if stress is None else stress.largest / units.GPa
    if not largest > LARGEST_STRESS:
        return ""
    return (
        f"stresses reach {largest:.4g} GPa: if they are virials (eV), prepare the data "
        f"with {key_option('virial', 'KEY')}, if they are in another unit, with "
        "-o read.stress_unit=UNIT"
    )


def _stress_without_cell(data: Dataset) -> str:
    count = (data.header or {}).get("stress_without_cell", 0)
    if not count:
        return ""
    return f"the stress of {count} structures without a cell is not used"


def _charge_sums(data: Dataset) -> str:
    mismatch = mismatched_charges(data.columns)
    structures, differences = mismatch.structures, mismatch.differences
    if not len(structures):
        return ""
    first = data.columns.text("id", int(structures[0]))
    warning = (
        f"the charges of {len(structures)} of {mismatch.labeled} structures do not sum "
        "to their total charge; the largest difference is "
        f"{differences[0]:+.3g} e, in {first}"
    )
    if data.columns.has("total_charge")[structures].any():
        return warning
    if np.abs(differences - np.rint(differences)).max() > 0.1:
        return warning
    return (
        f"{warning}. No total charge is given for them, so they are taken as neutral; "
        "give it as `total_charge` in the source, or its key to `bench prepare`, "
        f"`{key_option('total_charge', 'KEY')}`"
    )


def _duplicates(data: Dataset) -> str:
    """Returns a warning about duplicates, which a split can put into both sets."""
    groups = find_duplicates(data.columns)
    if not groups:
        return ""
    text = lambda kind, members: [data.columns.text(kind, int(i)) for i in members]
    pair = " and ".join(text("id", groups[0][:2]))
    in_other_groups = sum(len(set(text("group", members))) > 1 for members in groups)
    warning = (
        f"{sum(map(len, groups))} structures are not unique, of {len(groups)} "
        f"{'geometry' if len(groups) == 1 else 'geometries'}, such as {pair}"
    )
    if not in_other_groups:
        return warning
    return (
        f"{warning}; as they are in different groups, a random split can test on "
        "training structures: remove the duplicates or give them the same `group`"
    )
