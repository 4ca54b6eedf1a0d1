"""Text summary of a dataset, as `bench info` prints it."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from ase.data import chemical_symbols
from ase.units import GPa

from bench.dataset.columns import Columns
from bench.dataset.composition import (
    Fit,
    Floors,
    LabelDistribution,
    baseline_floors,
    count_elements,
    fit_composition,
    label_distribution,
)
from bench.dataset.opening import Dataset
from bench.dataset.warnings import warnings_of
from bench.labels import LABELS

_SUMMARY_UNITS = {"eV/Å³": ("GPa", GPa)}
"""Units of the summary, where they differ from those of the labels."""


def describe(data: Dataset) -> str:
    """Returns sizes, elements, charges, labels, floors and warnings, one per line.

    Args:
        data: dataset with any labels.
    """
    columns = data.columns
    counts = count_elements(columns)
    fit = fit_composition(counts, np.asarray(columns.arrays["energy"]))
    totals = counts.sum(0)
    elements = ", ".join(f"{chemical_symbols[z]} {totals[z]}" for z in fit.elements)
    sizes = columns.sizes
    lines = {
        "atoms": f"{sizes.min()} to {sizes.max()}, median {np.median(sizes):.0f}, "
        f"{sizes.sum()} in all",
        "elements": elements,
        "charges": _values_of(columns, "total_charge", _charges),
        "spins": _values_of(columns, "spin", _spins),
        "labels": _labels(data),
        "distribution": _distribution(label_distribution(columns)),
        "floors": _floors(baseline_floors(columns, fit)),
        "fitted energies": _energies(fit),
        "atomic energies": _atomic_energies(data),
        "outliers": _outliers(columns, fit),
        **_preparation(data),
    }
    return "\n".join(
        [
            f"{data.name}: {len(data)} {_boundaries(columns)} structures in "
            f"{len(np.unique(columns.texts('group')))} groups, digest {data.digest}",
            *(f"{name:17s}{text}" for name, text in lines.items() if text),
            *(f"{'warning':17s}{text}" for text in warnings_of(data)),
        ]
    )


def _boundaries(columns: Columns) -> str:
    periodic = np.asarray(columns.arrays["periodic"])
    if periodic.all() or not periodic.any():
        return "periodic" if periodic.all() else "open"
    return f"({periodic.sum()} periodic, {(~periodic).sum()} open)"


def _charges(columns: Columns) -> str:
    counts = Counter(np.asarray(columns.arrays["total_charge"]).tolist())
    return ", ".join(f"{q:+g}: {n}" for q, n in sorted(counts.items()))


def _spins(columns: Columns) -> str:
    spins = np.asarray(columns.arrays["spin"])[columns.has("spin")]
    counts = Counter(spins.tolist())
    return ", ".join(f"{s}: {n}" for s, n in sorted(counts.items()))


def _values_of(columns: Columns, label: str, text: Callable[[Columns], str]) -> str:
    """Returns the values of a label and the number of structures that lack it."""
    given = int(columns.has(label).sum())
    if label == "spin" and not given:
        return ""
    if not given:
        return "not given in the source: all taken as neutral"
    missing = len(columns) - given
    note = "taken as neutral" if label == "total_charge" else "unknown"
    return text(columns) + (f" ({missing} not given, {note})" if missing else "")


def _labels(data: Dataset) -> str:
    entries = (data.header or {}).get("label_keys", ())
    keys = dict(entry.split("=", 1) for entry in entries)
    listed = []
    for label in (name for name, x in LABELS.items() if not x.is_input):
        count = int(data.columns.has(label).sum())
        if count:
            key = keys.get(label, label)
            share = "" if count == len(data) else f" ({count} of {len(data)})"
            listed.append(label + (f" `{key}`" if key != label else "") + share)
    return ", ".join(listed)


def _distribution(labels: LabelDistribution) -> str:
    low, median, high = labels.energy
    entries = []
    if np.isfinite(median):
        entries.append(f"energy {low:.4g} to {high:.4g} eV/atom, median {median:.4g}")
    for name, (rms, largest) in labels.magnitudes.items():
        label = LABELS[name]
        unit, factor = _SUMMARY_UNITS.get(label.unit, (label.unit, 1.0))
        component = "" if label.shape in ((), (3,)) else " component"
        if np.isfinite(rms):
            entries.append(f"{label.text} {rms / factor:.3g} {unit} RMS")
            entries.append(f"largest{component} {largest / factor:.3g}")
    return ", ".join(entries)


def _floors(floors: Floors) -> str:
    entries = {
        "composition fit {:.1f} meV/atom MAE": 1000 * floors.energy,
        "zero forces {:.0f} meV/Å MAE": 1000 * floors.forces,
        "element's mean charge {:.0f} me MAE": 1000 * floors.charges,
    }
    return ", ".join(text.format(x) for text, x in entries.items() if np.isfinite(x))


def _energies(fit: Fit) -> str:
    """Returns the energies of the composition fit and its residual."""
    residuals = fit.residuals[np.isfinite(fit.residuals)]
    if not len(residuals):
        return ""
    energies = ", ".join(
        f"{chemical_symbols[z]} {fit.energies[z]:.3f}" for z in fit.elements
    )
    rmse = 1000 * np.mean(residuals**2) ** 0.5
    exact = len(residuals) <= len(fit.elements)
    note = f" (exact: only {len(residuals)} energies)" if exact else ""
    return f"least squares: {energies} eV; residual {rmse:.1f} meV/atom RMS{note}"


def _atomic_energies(data: Dataset) -> str:
    """Returns the energies of isolated atoms stored with the dataset."""
    stored = (data.header or {}).get("atomic_energies")
    if stored is None:
        return ""
    energies = ", ".join(f"{k} {v:.3f}" for k, v in stored["energies"].items())
    rmse = stored["rmse"]
    residual = "" if rmse is None else f"; residual {rmse:.4f} eV/atom RMS"
    return f"{energies} eV{residual}"


def _outliers(columns: Columns, fit: Fit) -> str:
    if not len(fit.outliers):
        return ""
    examples = ", ".join(
        f"{columns.text('id', int(i))} ({1000 * fit.residuals[i]:+.0f})"
        for i in fit.outliers[:3]
    )
    return (
        f"{len(fit.outliers)} energies deviate from the composition fit, possibly from "
        f"another level of theory: {examples} meV/atom"
    )


def _ignored_dipoles(columns: Columns) -> int:
    """Returns the number of charged structures without a dipole, if others have one."""
    has_dipole = columns.has("dipole")
    charged = np.asarray(columns.arrays["total_charge"]) != 0
    return int((charged & ~has_dipole).sum()) if has_dipole.any() else 0


def _preparation(data: Dataset) -> dict[str, str]:
    """Returns the lines on what was read and left out."""
    header = data.header
    if header is None:
        return {}
    left_out = header["left_out"]
    read_keys = {entry.split("=", 1)[1] for entry in header["label_keys"]}
    unused = set(header["available_keys"]) - read_keys
    lines = {
        "from": f"{header['source']} ({header['read_as']}), {header['read']} "
        "structures read",
        "left out": ", ".join(f"{reason}: {n}" for reason, n in left_out.items()),
        "unusable": "",
        "not read": ", ".join(sorted(unused)[:20])
        + (" ..." if len(unused) > 20 else ""),
    }
    if header["rejected"]:
        examples = "; ".join(
            f"{location}: {reason}" for location, reason in header["rejected_examples"]
        )
        lines["unusable"] = f"{header['rejected']}, such as {examples}"
    ignored = _ignored_dipoles(data.columns)
    if ignored:
        lines["dipoles"] = (
            f"of {ignored} charged structures are not used: give their origin with "
            "-o read.dipole_origin=mass or coordinates"
        )
    if header["zero_force_structures"]:
        lines["suspicious"] = (
            f"all forces of {header['zero_force_structures']} structures are zero: if "
            "they are placeholders, prepare with -o filters.without=[forces]"
        )
    return lines
