"""A data set in a few lines."""

from collections import Counter

import numpy as np
from ase.data import chemical_symbols
from ase.units import GPa

from bench.dataset.columns import Columns
from bench.dataset.composition import (
    Fit,
    Floors,
    Spread,
    count_elements,
    fit_composition,
    floors_of,
    spread_of,
)
from bench.dataset.opening import Dataset
from bench.dataset.warnings import warnings_of

LABELS = ("energy", "forces", "stress", "charges", "dipole", "born_charges", "tags")


def describe(data: Dataset) -> str:
    """Sizes, elements, charges, labels, floors, and what was left out.

    Args:
        data: any set; whatever labels it has.
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
        "charges": _share(columns, "total_charge", _charges),
        "spins": _share(columns, "spin", _spins),
        "labels": _labels(data),
        "spread": _spread(spread_of(columns)),
        "floors": _floors(floors_of(columns, fit)),
        "energies": _energies(fit),
        "atomic energies": _atomic_energies(data),
        "far off": _outliers(columns, fit),
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
    found = Counter(np.asarray(columns.arrays["total_charge"]).tolist())
    return ", ".join(f"{q:+g}: {n}" for q, n in sorted(found.items()))


def _spins(columns: Columns) -> str:
    known = np.asarray(columns.arrays["spin"])[columns.has("spin")]
    found = Counter(known.tolist())
    return ", ".join(f"{s}: {n}" for s, n in sorted(found.items()))


def _share(columns: Columns, label: str, text) -> str:
    """Values of a label, and for how many structures the source says them."""
    given = int(columns.has(label).sum())
    if label == "spin" and not given:
        return ""
    if not given:
        return "not said by the source: all taken as neutral"
    missing = len(columns) - given
    note = "taken as neutral" if label == "total_charge" else "unknown"
    return text(columns) + (f" ({missing} not said, {note})" if missing else "")


def _labels(data: Dataset) -> str:
    origins = dict(o.split("=", 1) for o in (data.header or {}).get("label_keys", ()))
    shown = []
    for label in LABELS:
        count = int(data.columns.has(label).sum())
        if count:
            name = origins.get(label, label)
            some = "" if count == len(data) else f" ({count} of {len(data)})"
            shown.append(label + (f" `{name}`" if name != label else "") + some)
    return ", ".join(shown)


def _spread(spread: Spread) -> str:
    low, middle, high = spread.energy
    shown = {
        f"energy {low:.4g} to {high:.4g} eV/atom, median {middle:.4g}": middle,
        f"forces {spread.force:.3g} eV/Å RMS": spread.force,
        f"largest {spread.largest_force:.3g}": spread.largest_force,
        f"stress {spread.stress / GPa:.3g} GPa RMS": spread.stress,
        f"largest component {spread.largest_stress / GPa:.3g}": spread.largest_stress,
    }
    return ", ".join(text for text, x in shown.items() if np.isfinite(x))


def _floors(floors: Floors) -> str:
    shown = {
        "composition fit {:.1f} meV/atom MAE": 1000 * floors.energy,
        "zero force {:.0f} meV/Å MAE": 1000 * floors.forces,
        "element's mean charge {:.0f} me MAE": 1000 * floors.charges,
    }
    return ", ".join(text.format(x) for text, x in shown.items() if np.isfinite(x))


def _energies(fit: Fit) -> str:
    """Energies of elements by least squares over all structures, eV."""
    known = fit.residuals[np.isfinite(fit.residuals)]
    if not len(known):
        return ""
    shown = ", ".join(
        f"{chemical_symbols[z]} {fit.energies[z]:.3f}" for z in fit.elements
    )
    left = 1000 * np.mean(known**2) ** 0.5
    few = len(known) <= len(fit.elements)
    note = f" ({len(known)} energies fit so many elements by themselves)" if few else ""
    return f"least squares: {shown} eV; residual {left:.1f} meV/atom RMS{note}"


def _atomic_energies(data: Dataset) -> str:
    """Atomic energies that came with the set."""
    noted = (data.header or {}).get("atomic_energies")
    if noted is None:
        return ""
    shown = ", ".join(f"{k} {v:.3f}" for k, v in noted["energies"].items())
    left = "" if noted["rmse"] is None else f"; left {noted['rmse']:.4f} eV/atom RMS"
    return f"{shown} eV{left}"


def _outliers(columns: Columns, fit: Fit) -> str:
    if not len(fit.outliers):
        return ""
    shown = ", ".join(
        f"{columns.text('id', int(i))} ({1000 * fit.residuals[i]:+.0f})"
        for i in fit.outliers[:3]
    )
    return (
        f"{len(fit.outliers)} energies stand out from the composition fit, as those of "
        f"another level do: {shown} meV/atom"
    )


def _adrift(columns: Columns) -> int:
    """Charged structures without a dipole in a set where others have one."""
    has = columns.has("dipole")
    charged = np.asarray(columns.arrays["total_charge"]) != 0
    return int((charged & ~has).sum()) if has.any() else 0


def _preparation(data: Dataset) -> dict[str, str]:
    """What `bench prepare` read and left out."""
    header = data.header
    if header is None:
        return {}
    left_out = header["left_out"]
    read_keys = {entry.split("=", 1)[1] for entry in header["label_keys"]}
    unused = set(header["available_keys"]) - read_keys
    lines = {
        "from": f"{header['source']} ({header['read_as']}), {header['read']} "
        "structures read",
        "left out": ", ".join(f"{why}: {n}" for why, n in left_out.items()),
        "unusable": "",
        "not read": ", ".join(sorted(unused)[:20])
        + (" ..." if len(unused) > 20 else ""),
    }
    if header["rejected"]:
        examples = "; ".join(
            f"{where}: {why}" for where, why in header["rejected_examples"]
        )
        lines["unusable"] = f"{header['rejected']}, such as {examples}"
    adrift = _adrift(data.columns)
    if adrift:
        lines["dipoles"] = (
            f"of {adrift} charged structures are not used: say from which origin they "
            "are, --dipole-origin mass or coordinates"
        )
    if header["zero_force_structures"]:
        lines["suspicious"] = (
            f"all forces of {header['zero_force_structures']} structures are zero: if "
            "they are placeholders, prepare with --without forces"
        )
    return lines
