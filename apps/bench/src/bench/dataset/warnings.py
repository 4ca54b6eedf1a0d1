"""What a user should know of a data set before it is used."""

import numpy as np
from ase import units

from bench.dataset.charge_sums import mismatched_charges
from bench.dataset.composition import spread_of
from bench.dataset.duplicates import identical
from bench.dataset.opening import Dataset
from bench.dataset.unread_labels import unread_labels

LARGEST_STRESS = 100.0
"""GPa. Larger numbers are more likely virials, or of another unit."""

SUMS = ("--energy-key", "--total-charge-key")
"""Options of numbers whose parts may have names of their own."""


def warnings_of(data: Dataset, *, split_at_random: bool = True) -> list[str]:
    """Sentences on what is likely to be a mistake.

    Args:
        data: any set.
        split_at_random: whether identical structures matter.
    """
    found = [*_unread(data), _stress(data), _open_stress(data), _charges(data)]
    if split_at_random:
        found.append(_identical(data))
    return [sentence for sentence in found if sentence]


def _unread(data: Dataset) -> list[str]:
    """Labels under names that are not read."""
    if data.header is None:
        return []
    source, found = data.header["source"], []
    for option, names in unread_labels(data.header).items():
        shown = ", ".join(f"`{name}`" for name in names)
        if len(names) == 1:
            advice = f"`bench prepare` with `{option} {names[0]}` reads it"
            found.append(f"{shown} of {source} is not read: {advice}")
        else:
            both = f", `{names[0]}+{names[1]}` a sum" if option in SUMS else ""
            advice = f"`bench prepare` with `{option} NAME` reads one of them{both}"
            found.append(f"{shown} of {source} are not read: {advice}")
    return found


def _stress(data: Dataset) -> str:
    largest = spread_of(data.columns).largest_stress / units.GPa
    if not largest > LARGEST_STRESS:
        return ""
    return (
        f"stresses reach {largest:.4g} GPa: if they are virials (eV), prepare the data "
        "with --virial-key, if they are in another unit, with --stress-unit"
    )


def _open_stress(data: Dataset) -> str:
    count = (data.header or {}).get("stress_without_cell", 0)
    if not count:
        return ""
    return f"the stress of {count} structures without a cell is not used: it has none"


def _charges(data: Dataset) -> str:
    off = mismatched_charges(data.columns)
    if not len(off.structures):
        return ""
    first = data.columns.text("id", int(off.structures[0]))
    sentence = (
        f"the charges of {len(off.structures)} of {off.labelled} structures do not sum "
        "to their total charge; the largest difference is "
        f"{off.differences[0]:+.3g} e, in {first}"
    )
    if data.columns.has("total_charge")[off.structures].any():
        return sentence
    if np.abs(off.differences - np.rint(off.differences)).max() > 0.1:
        return sentence
    return (
        f"{sentence}. No total charge is given for them, so they are taken as neutral; "
        "`total_charge` in the source sets it, or the column that `bench prepare` is "
        "given with --total-charge-key"
    )


def _identical(data: Dataset) -> str:
    """Structures that a split may put on both sides."""
    groups = identical(data.columns)
    if not groups:
        return ""
    text = lambda kind, members: [data.columns.text(kind, int(i)) for i in members]
    pair = " and ".join(text("id", groups[0][:2]))
    apart = sum(len(set(text("group", members))) > 1 for members in groups)
    sentence = (
        f"{sum(map(len, groups))} structures are not unique, of {len(groups)} "
        f"{'geometry' if len(groups) == 1 else 'geometries'}, such as {pair}"
    )
    if not apart:
        return sentence
    return (
        f"{sentence}; as they are in different groups, a random split may test on what "
        "it has trained on: leave repeats out, or give them one `group`"
    )
