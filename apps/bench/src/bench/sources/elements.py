"""Elements by the symbols that files use for them."""

from ase.data import atomic_numbers

from bench.sources.row import RowError

KNOWN = {k: z for k, z in atomic_numbers.items() if z} | {"D": 1, "T": 1}
"""Atomic numbers by symbol, those of the isotopes of hydrogen included."""


def atomic_number(symbol: str, atom: int) -> int:
    """The atomic number of a symbol in any case, `zn` as well as `Zn`.

    Args:
        symbol: of an element or of an isotope of hydrogen.
        atom: index of the atom, for the message.

    Raises:
        RowError: names what is no symbol of an element.
    """
    name = symbol.capitalize()
    if name not in KNOWN:
        raise RowError(
            f"{symbol!r}, the symbol of atom {atom}, is no element: give symbols "
            "without numbers or labels, such as O"
        )
    return KNOWN[name]
