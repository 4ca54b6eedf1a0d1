"""Chemical elements by symbol."""

from ase.data import atomic_numbers

from bench.sources.row import RowError

ATOMIC_NUMBERS = {k: z for k, z in atomic_numbers.items() if z} | {"D": 1, "T": 1}
"""Atomic numbers by symbol, with deuterium and tritium."""


def atomic_number(symbol: str, atom: int) -> int:
    """Returns the atomic number of a symbol in any case, such as `zn` or `Zn`.

    Args:
        symbol: symbol of an element or of an isotope of hydrogen.
        atom: index of the atom, for the message.

    Raises:
        RowError: there is no such element.
    """
    name = symbol.capitalize()
    if name not in ATOMIC_NUMBERS:
        raise RowError(
            f"{symbol!r}, the symbol of atom {atom}, is no element: give symbols "
            "without numbers or labels, such as O"
        )
    return ATOMIC_NUMBERS[name]
