"""Energies of isolated atoms, given with a dataset instead of fitted."""

from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from scipy import sparse

from bench.dataset.composition import ELEMENTS
from bench.dataset.filters import Candidates
from bench.exceptions import BenchError
from bench.settings.parsing import read_yaml

ATOMS = "atoms"
"""Value of `atomic_energies` that takes isolated atoms of the source."""


def read_atomic_energies(path: Path) -> dict[int, float]:
    """Reads energies of isolated atoms, eV by atomic number.

    Args:
        path: YAML or JSON file with an energy per chemical symbol, such as `H: -13.6`.

    Raises:
        BenchError: the file does not exist, or a symbol or an energy is invalid.
    """
    try:
        energies = read_yaml(path)
    except BenchError as error:
        raise BenchError(
            f"{error} Give a YAML file of energies by element, such as `H: -13.6`, or "
            f"`{ATOMS}`."
        ) from error
    if not isinstance(energies, dict) or not energies:
        raise BenchError(f"{path} must hold energies by element, such as `H: -13.6`.")
    return {_number(k, path): _energy(k, v, path) for k, v in energies.items()}


def energies_of_isolated_atoms(
    candidates: Candidates, isolated: np.ndarray, charges: np.ndarray
) -> dict[int, float]:
    """Returns the energies of neutral isolated atoms, eV by atomic number.

    Args:
        candidates: all structures; the lowest energy of each element is used.
        isolated: mask of the isolated atoms, `(structures,)`.
        charges: total charges, e, `(structures,)`.
    """
    atoms = np.flatnonzero(isolated & np.isfinite(candidates.energies))
    energies: dict[int, float] = {}
    for i in atoms[charges[atoms] == 0]:
        z = int(sparse.csr_array(candidates.counts[[i]]).indices[0])
        energies[z] = min(energies.get(z, np.inf), float(candidates.energies[i]))
    return energies


def atomic_energy_residuals(
    energies: dict[int, float], structures: Candidates, source: str
) -> dict[str, Any]:
    """Returns atomic energies with the residuals of the total energies, for the header.

    Args:
        energies: eV by atomic number.
        structures: all structures of the dataset.
        source: path that was read, for messages.

    Returns:
        `energies` by chemical symbol, and `mae` and `rmse` of the total energy minus
        the sum of atomic energies, eV per atom; None without energies.

    Raises:
        BenchError: an element has no energy.
    """
    counts = structures.counts
    elements = np.flatnonzero(counts.sum(0))
    missing = [chemical_symbols[z] for z in elements if int(z) not in energies]
    if missing:
        raise BenchError(
            f"There is no atomic energy of {', '.join(missing)}, which {source} "
            "contains: add it to the file of atomic_energies or, with "
            f"`{ATOMS}`, add a neutral single atom to the source, without a cell or "
            "with `config_type=IsolatedAtom`."
        )
    values = np.zeros(ELEMENTS)
    values[elements] = [energies[int(z)] for z in elements]
    residuals = (structures.energies - counts @ values) / np.maximum(counts.sum(1), 1)
    residuals = residuals[np.isfinite(residuals)]
    return {
        "energies": {chemical_symbols[z]: float(values[z]) for z in elements},
        "mae": float(np.abs(residuals).mean()) if len(residuals) else None,
        "rmse": float((residuals**2).mean() ** 0.5) if len(residuals) else None,
    }


def _number(symbol: Any, path: Path) -> int:
    # YAML 1.1 parses an unquoted `No` (nobelium) as false; `Y` stays a string.
    name = "No" if symbol is False else str(symbol)
    if name not in atomic_numbers or name == "X":
        raise BenchError(
            f"{path}: there is no element {name!r}; use symbols such as `Zn`."
        )
    return atomic_numbers[name]


def _energy(symbol: Any, value: Any, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BenchError(f"{path}: the energy of {symbol} is not a number: {value!r}.")
    if not np.isfinite(value):
        raise BenchError(f"{path}: the energy of {symbol} is not finite.")
    return float(value)
