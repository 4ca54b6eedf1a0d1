"""Energies of isolated atoms that a data set brings along, instead of fitted ones."""

from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from scipy import sparse

from bench.dataset.composition import ELEMENTS
from bench.dataset.filters import Overview
from bench.exceptions import BenchError
from bench.settings.parsing import read_yaml

ATOMS = "atoms"
"""Instead of a file: isolated atoms among the structures of the source."""


def read_atomic_energies(path: Path) -> dict[int, float]:
    """Energies by atomic number, eV.

    Args:
        path: YAML or JSON with an energy for each chemical symbol, `H: -13.6`.

    Raises:
        BenchError: no such file, an unknown symbol, or something that is no energy.
    """
    try:
        found = read_yaml(path)
    except BenchError as error:
        raise BenchError(
            f"{error} Give a YAML file of energies by element, such as `H: -13.6`, or "
            f"`{ATOMS}`."
        ) from error
    if not isinstance(found, dict) or not found:
        raise BenchError(f"{path} must hold energies by element, such as `H: -13.6`.")
    return {_number(k, path): _energy(k, v, path) for k, v in found.items()}


def of_isolated_atoms(
    everyone: Overview, isolated: np.ndarray, charges: np.ndarray
) -> dict[int, float]:
    """Energies of the neutral isolated atoms among some structures, eV.

    Args:
        everyone: all structures; of several atoms of an element the lowest counts.
        isolated: which of them are isolated atoms.
        charges: of the structures, e.
    """
    lone = np.flatnonzero(isolated & np.isfinite(everyone.energies))
    found: dict[int, float] = {}
    for i in lone[charges[lone] == 0]:
        z = int(sparse.csr_array(everyone.counts[[i]]).indices[0])
        found[z] = min(found.get(z, np.inf), float(everyone.energies[i]))
    return found


def atomic_energy_residuals(
    energies: dict[int, float], kept: Overview, source: str
) -> dict[str, Any]:
    """What a data set notes of its atomic energies, with what they leave to learn.

    Args:
        energies: eV by atomic number.
        kept: structures of the data set.
        source: what was read.

    Raises:
        BenchError: an element has no energy.
    """
    elements = np.flatnonzero(kept.counts.sum(0))
    missing = [chemical_symbols[z] for z in elements if int(z) not in energies]
    if missing:
        raise BenchError(
            f"There is no atomic energy of {', '.join(missing)}, which {source} has: "
            f"give it in the file of --atomic-energies, or with `{ATOMS}` as a neutral "
            "single atom among the structures, without a cell or with "
            "`config_type=IsolatedAtom`."
        )
    values = np.zeros(ELEMENTS)
    values[elements] = [energies[int(z)] for z in elements]
    left = (kept.energies - kept.counts @ values) / np.maximum(kept.counts.sum(1), 1)
    left = left[np.isfinite(left)]
    return {
        "energies": {chemical_symbols[z]: float(values[z]) for z in elements},
        "mae": float(np.abs(left).mean()) if len(left) else None,
        "rmse": float((left**2).mean() ** 0.5) if len(left) else None,
    }


def _number(symbol: Any, path: Path) -> int:
    # YAML reads an unquoted `No` as false, and `Y` as a letter.
    name = "No" if symbol is False else str(symbol)
    if name not in atomic_numbers or name == "X":
        raise BenchError(f"{path}: there is no element {name!r}; give symbols, `Zn`.")
    return atomic_numbers[name]


def _energy(symbol: Any, value: Any, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BenchError(f"{path}: the energy of {symbol} is no number: {value!r}.")
    if not np.isfinite(value):
        raise BenchError(f"{path}: the energy of {symbol} is not finite.")
    return float(value)
