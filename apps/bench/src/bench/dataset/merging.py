"""Joins parts to a data set: choices among all, order, digest and statistics."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase.data import chemical_symbols
from scipy import sparse

from bench.dataset.atomic_energies import (
    ATOMS,
    atomic_energy_residuals,
    of_isolated_atoms,
)
from bench.dataset.columns import FLAGS, ISOLATED, Columns
from bench.dataset.composition import Fit, count_elements, fit_composition
from bench.dataset.filters import Filters, Overview
from bench.dataset.parts import load_part, load_statistics
from bench.dataset.read_statistics import MAX_EXAMPLES, ReadStatistics, combined
from bench.dataset.unread_labels import unread_labels
from bench.dataset.writing import write_prepared
from bench.exceptions import BenchError
from bench.labels import LABELS, TRAINABLE_KINDS, field_of


def merge(
    paths: Sequence[Path],
    out: Path,
    filters: Filters,
    strict: bool,
    facts: dict[str, Any],
    atomic_energies: dict[int, float] | Literal["atoms"] | None = None,
) -> dict[str, Any]:
    """Writes the structures that are chosen among all parts.

    Args:
        paths: of all parts, in the order of the source.
        out: folder of the data set.
        filters: what is kept.
        strict: whether an id that is used twice is an error.
        facts: further entries of the header.
        atomic_energies: eV by atomic number; `"atoms"` takes them from the isolated
            atoms among the structures and leaves these out; None leaves them to be
            fitted to the training part.

    Returns:
        The header.

    Raises:
        BenchError: nothing is left, or something cannot be read or written.
    """
    statistics = combined(load_statistics(path) for path in paths)
    everyone, digests, present, charges = _overview(paths)
    single = _first_of_each_id(everyone, digests, statistics, strict)
    if atomic_energies == ATOMS:
        own = everyone.take(single)
        lone = (present[single] & ISOLATED) > 0
        atomic_energies = of_isolated_atoms(own, lone, charges[single])
        statistics.left_out["isolated atoms, used as atomic energies"] += int(
            lone.sum()
        )
        single = single[~lone]
    chosen, left_out = filters.choose(everyone.take(single))
    statistics.left_out.update(left_out)
    rows = single[chosen]
    if not len(rows):
        raise nothing_left(statistics, facts["source"])
    kept = everyone.take(rows)
    fit = fit_composition(kept.counts, kept.energies)
    if atomic_energies is not None:
        facts = facts | {
            "atomic_energies": atomic_energy_residuals(
                atomic_energies, kept, facts["source"]
            )
        }
    header = {
        **facts,
        "structures": len(rows),
        "atoms": int(kept.counts.sum()),
        "digest": digest_of(digests[rows]),
        **notes_of(statistics),
        "labels": {k: int((present[rows] & bit > 0).sum()) for k, bit in FLAGS.items()},
        **_statistics(fit, kept),
    }
    order = np.argsort(kept.ids, kind="stable")
    return write_prepared(out, lambda: _chosen(paths, rows), order, header)


def notes_of(statistics: ReadStatistics) -> dict[str, Any]:
    """What a header says of how a set was read.

    Args:
        statistics: of all structures.
    """
    return {
        "read": statistics.read,
        "left_out": {why: n for why, n in statistics.left_out.items() if n},
        "rejected": statistics.rejected,
        "rejected_examples": [list(e) for e in statistics.examples],
        "zero_force_structures": statistics.zero_force_structures,
        "stress_without_cell": statistics.stress_without_cell,
        "available_keys": sorted(statistics.available_keys),
        "key_types": sorted(statistics.key_types),
        "label_keys": sorted(statistics.label_keys),
    }


def digest_of(digests: np.ndarray) -> str:
    """Which data a result belongs to, whatever the order of the structures.

    Args:
        digests: column of all structures, `(structures, 16)`.
    """
    rows = np.ascontiguousarray(digests).view("S16").ravel()
    return hashlib.sha256(np.sort(rows).tobytes()).hexdigest()[:16]


def check_labels(
    statistics: ReadStatistics, named: dict[str, str], source: str
) -> None:
    """Refuses a name that no structure has, and structures without any label to learn.

    Args:
        statistics: of all structures.
        named: names that were given, by label.
        source: what was read.

    Raises:
        BenchError: the name, and the names that exist.
    """
    if statistics.kept == 0:
        raise nothing_left(statistics, source)
    offered = ", ".join(sorted(statistics.available_keys)) or "no names"
    for kind, name in named.items():
        label = "stress" if kind == "virial" else kind
        if label not in LABELS or statistics.labels[label]:
            continue
        if label == "stress" and statistics.stress_without_cell:
            raise BenchError(
                f"{name!r} of {source} is the {kind} of structures without a cell, "
                "which have none: leave it away, or give their cells."
            )
        raise BenchError(
            f"No structure of {source} has {name!r}, which is to be its {kind}; "
            f"there are {offered}."
        )
    if not any(statistics.labels[field_of(kind)] for kind in TRAINABLE_KINDS):
        likely = unread_labels(notes_of(statistics))
        options = " ".join(f"{option} {names[0]}" for option, names in likely.items())
        raise BenchError(
            f"No structure of {source} has an energy, forces, stress, charges or a "
            f"dipole; it has {offered}: say which is which, such as "
            f"{options or '--energy-key E'}."
        )


def nothing_left(statistics: ReadStatistics, source: str) -> BenchError:
    """What is said where filters and checks leave no structure.

    Args:
        statistics: of all structures.
        source: what was read.
    """
    reasons = [f"{why}: {n}" for why, n in statistics.left_out.most_common()]
    reasons += [f"{where}: {why}" for where, why in statistics.examples[:1]]
    return BenchError(
        f"Of {statistics.read} structures of {source} none is left "
        f"({'; '.join(reasons) or 'it has none'})."
    )


def _overview(
    paths: Sequence[Path],
) -> tuple[Overview, np.ndarray, np.ndarray, np.ndarray]:
    """What choices are made from, with digests, flags and charges: all that is held."""
    pieces = []
    for path in paths:
        part = load_part(path)
        pieces.append(
            (
                part.arrays["energy"],
                part.texts("group"),
                part.texts("id"),
                count_elements(part),
                part.arrays["digest"],
                part.arrays["present"],
                part.arrays["total_charge"],
            )
        )
    energies, groups, ids, counts, *rest = zip(*pieces, strict=True)
    _, codes = np.unique(np.concatenate(groups), return_inverse=True)
    everyone = Overview(
        np.concatenate(energies),
        codes,
        np.concatenate(ids),
        sparse.csr_array(sparse.vstack(counts, format="csr")),
    )
    digests, present, charges = map(np.concatenate, rest)
    return everyone, digests, present, charges


def _first_of_each_id(
    everyone: Overview, digests: np.ndarray, statistics: ReadStatistics, strict: bool
) -> np.ndarray:
    """Structures whose id no earlier one has; true repeats are told from clashes."""
    order = np.argsort(everyone.ids, kind="stable")
    ids = everyone.ids[order]
    again = np.flatnonzero(ids[1:] == ids[:-1]) + 1
    if not len(again):
        return np.arange(len(ids))
    text = lambda i: bytes(ids[i]).decode()
    first = np.searchsorted(ids, ids[again], side="left")
    same = (digests[order[again]] == digests[order[first]]).all(1)
    clashes = [text(i) for i in again[~same]]
    if strict:
        raise BenchError(
            f"The id {text(again[0])!r} is used twice: ids must be unique."
        )
    if same.any():
        statistics.left_out["repeats of another structure"] += int(same.sum())
    for id in clashes[:MAX_EXAMPLES]:
        statistics.reject(id, "its id is used before for another structure")
    statistics.rejected += max(len(clashes) - MAX_EXAMPLES, 0)
    return np.sort(np.setdiff1d(np.arange(len(ids)), order[again]))


def _chosen(paths: Sequence[Path], rows: np.ndarray) -> Iterator[Columns]:
    """The chosen structures of each part."""
    begin = 0
    for path in paths:
        part = load_part(path)
        end = begin + len(part)
        own = rows[np.searchsorted(rows, begin) : np.searchsorted(rows, end)] - begin
        if len(own):
            yield part.take(own)
        begin = end


def _statistics(fit: Fit, kept: Overview) -> dict[str, Any]:
    known = fit.residuals[np.isfinite(fit.residuals)]
    totals = kept.counts.sum(0)
    return {
        "elements": {chemical_symbols[z]: int(totals[z]) for z in fit.elements},
        "composition_fit": {
            "energies": {
                chemical_symbols[z]: float(fit.energies[z]) for z in fit.elements
            },
            "mae": float(np.abs(known).mean()) if len(known) else None,
            "rmse": float((known**2).mean() ** 0.5) if len(known) else None,
            "outliers": len(fit.outliers),
            "examples": [
                [bytes(kept.ids[i]).decode(), float(fit.residuals[i])]
                for i in fit.outliers[:MAX_EXAMPLES]
            ],
        },
    }
