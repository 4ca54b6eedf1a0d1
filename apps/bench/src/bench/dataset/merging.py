"""Merging of parts to a dataset: joint filters, order, digest and statistics."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase.data import chemical_symbols
from scipy import sparse

from bench.dataset.atomic_energies import (
    ATOMS,
    atomic_energy_residuals,
    energies_of_isolated_atoms,
)
from bench.dataset.columns import FLAGS, ISOLATED, Columns
from bench.dataset.composition import Fit, count_elements, fit_composition
from bench.dataset.filters import Candidates, select_jointly
from bench.dataset.parts import load_part, load_statistics
from bench.dataset.read_statistics import MAX_EXAMPLES, ReadStatistics, combined
from bench.dataset.unread_labels import key_option, unread_labels
from bench.dataset.writing import write_prepared
from bench.exceptions import BenchError
from bench.labels import LABELS, TRAINABLE_KINDS, field_of
from bench.settings.preparation import Filters


def merge(
    paths: Sequence[Path],
    out: Path,
    filters: Filters,
    strict: bool,
    entries: dict[str, Any],
    atomic_energies: dict[int, float] | Literal["atoms"] | None = None,
) -> dict[str, Any]:
    """Selects structures from all parts and writes them as one dataset.

    Args:
        paths: of all parts, in the order of the source.
        out: folder of the dataset.
        filters: conditions that structures must meet.
        strict: whether an id that is used twice is an error.
        entries: further entries of the header.
        atomic_energies: eV by atomic number; `"atoms"` takes them from the isolated
            atoms among the structures and leaves these out; None leaves them to be
            fitted to the training set.

    Returns:
        The header.

    Raises:
        BenchError: no structure is left, or a file cannot be read or written.
    """
    statistics = combined(load_statistics(path) for path in paths)
    candidates, digests, present, charges = _load_candidates(paths)
    unique = _first_of_each_id(candidates, digests, statistics, strict)
    if atomic_energies == ATOMS:
        isolated = (present[unique] & ISOLATED) > 0
        atomic_energies = energies_of_isolated_atoms(
            candidates.take(unique), isolated, charges[unique]
        )
        statistics.left_out["isolated atoms, used as atomic energies"] += int(
            isolated.sum()
        )
        unique = unique[~isolated]
    selected, left_out = select_jointly(candidates.take(unique), filters)
    statistics.left_out.update(left_out)
    rows = unique[selected]
    if not len(rows):
        raise no_structures_error(statistics, entries["source"])
    structures = candidates.take(rows)
    fit = fit_composition(structures.counts, structures.energies)
    if atomic_energies is not None:
        entries = entries | {
            "atomic_energies": atomic_energy_residuals(
                atomic_energies, structures, entries["source"]
            )
        }
    header = {
        **entries,
        "structures": len(rows),
        "atoms": int(structures.counts.sum()),
        "digest": digest_of(digests[rows]),
        **reading_entries(statistics),
        "labels": {k: int((present[rows] & bit > 0).sum()) for k, bit in FLAGS.items()},
        **_composition_entries(fit, structures),
    }
    order = np.argsort(structures.ids, kind="stable")
    return write_prepared(out, lambda: _selected(paths, rows), order, header)


def reading_entries(statistics: ReadStatistics) -> dict[str, Any]:
    """Returns the entries of a header about how the source was read.

    Args:
        statistics: of all rows.
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
    """Returns the hash of a dataset, independent of the order of its structures.

    Args:
        digests: column of the same name, `(structures, 16)`.
    """
    rows = np.ascontiguousarray(digests).view("S16").ravel()
    return hashlib.sha256(np.sort(rows).tobytes()).hexdigest()[:16]


def check_labels(
    statistics: ReadStatistics, given_keys: Mapping[str, str], source: str
) -> None:
    """Checks that every given key and at least one trainable label exist.

    Args:
        statistics: of all rows.
        given_keys: keys that the user gave, by label.
        source: path that was read, for messages.

    Raises:
        BenchError: a key or all trainable labels are missing; the message lists the
            keys of the source.
    """
    if statistics.accepted == 0:
        raise no_structures_error(statistics, source)
    available = ", ".join(sorted(statistics.available_keys)) or "no keys"
    for kind, key in given_keys.items():
        label = "stress" if kind == "virial" else kind
        # A label with an empty key is not read.
        if not key or label not in LABELS or statistics.labels[label]:
            continue
        if label == "stress" and statistics.stress_without_cell:
            raise BenchError(
                f"{key!r} of {source} is the {kind} of structures without a cell, "
                "for which it is undefined: omit its key or add the cells."
            )
        raise BenchError(
            f"No structure of {source} has {key!r}, the key given for its {kind}; "
            f"available: {available}."
        )
    if not any(statistics.labels[field_of(kind)] for kind in TRAINABLE_KINDS):
        unread = unread_labels(reading_entries(statistics))
        trainable = ", ".join(field_of(kind) for kind in TRAINABLE_KINDS)
        options = " ".join(key_option(label, keys[0]) for label, keys in unread.items())
        raise BenchError(
            f"No structure of {source} has a label to train on ({trainable}); "
            f"available: {available}. Name the keys of the labels, such as "
            f"{options or key_option('energy', 'E')}."
        )


def no_structures_error(statistics: ReadStatistics, source: str) -> BenchError:
    """Returns the error to raise if checks and filters leave no structure.

    Args:
        statistics: of all rows.
        source: path that was read, for messages.
    """
    reasons = [f"{why}: {n}" for why, n in statistics.left_out.most_common()]
    reasons += [f"{location}: {why}" for location, why in statistics.examples[:1]]
    return BenchError(
        f"Of {statistics.read} structures of {source} none is left "
        f"({'; '.join(reasons) or 'it has none'})."
    )


def _load_candidates(
    paths: Sequence[Path],
) -> tuple[Candidates, np.ndarray, np.ndarray, np.ndarray]:
    """Loads the candidates with the columns `digest`, `present` and `total_charge`."""
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
    candidates = Candidates(
        np.concatenate(energies),
        codes,
        np.concatenate(ids),
        sparse.csr_array(sparse.vstack(counts, format="csr")),
    )
    digests, present, charges = map(np.concatenate, rest)
    return candidates, digests, present, charges


def _first_of_each_id(
    candidates: Candidates,
    digests: np.ndarray,
    statistics: ReadStatistics,
    strict: bool,
) -> np.ndarray:
    """Returns the first structure with each id, in order.

    Copies of the first structure count as left out, other structures as rejected.
    """
    order = np.argsort(candidates.ids, kind="stable")
    ids = candidates.ids[order]
    repeated = np.flatnonzero(ids[1:] == ids[:-1]) + 1
    if not len(repeated):
        return np.arange(len(ids))
    text = lambda i: bytes(ids[i]).decode()
    first = np.searchsorted(ids, ids[repeated], side="left")
    equal = (digests[order[repeated]] == digests[order[first]]).all(1)
    conflicts = [text(i) for i in repeated[~equal]]
    if strict:
        raise BenchError(
            f"The id {text(repeated[0])!r} is used twice: ids must be unique."
        )
    if equal.any():
        statistics.left_out["repeats of another structure"] += int(equal.sum())
    for id in conflicts[:MAX_EXAMPLES]:
        statistics.reject(id, "its id is used before for another structure")
    statistics.rejected += max(len(conflicts) - MAX_EXAMPLES, 0)
    return np.sort(np.setdiff1d(np.arange(len(ids)), order[repeated]))


def _selected(paths: Sequence[Path], rows: np.ndarray) -> Iterator[Columns]:
    """Yields the selected structures of each part.

    Args:
        paths: of all parts.
        rows: sorted indices into the structures of all parts.
    """
    start = 0
    for path in paths:
        part = load_part(path)
        stop = start + len(part)
        first, last = np.searchsorted(rows, (start, stop))
        if last > first:
            yield part.take(rows[first:last] - start)
        start = stop


def _composition_entries(fit: Fit, structures: Candidates) -> dict[str, Any]:
    residuals = fit.residuals[np.isfinite(fit.residuals)]
    totals = structures.counts.sum(0)
    return {
        "elements": {chemical_symbols[z]: int(totals[z]) for z in fit.elements},
        "composition_fit": {
            "energies": {
                chemical_symbols[z]: float(fit.energies[z]) for z in fit.elements
            },
            "mae": float(np.abs(residuals).mean()) if len(residuals) else None,
            "rmse": float((residuals**2).mean() ** 0.5) if len(residuals) else None,
            "outliers": len(fit.outliers),
            "examples": [
                [bytes(structures.ids[i]).decode(), float(fit.residuals[i])]
                for i in fit.outliers[:MAX_EXAMPLES]
            ],
        },
    }
