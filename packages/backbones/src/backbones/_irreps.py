"""Degrees and names of irreps, and their components in e3nn order."""

import re


def degree_slice(degree: int) -> slice:
    """Returns the components of one degree among features of degree 0, 1, 2, ...

    Args:
        degree: l; its 2 l + 1 components follow those of all lower degrees.
    """
    return slice(degree**2, (degree + 1) ** 2)


def natural_irrep(degree: int) -> str:
    """Returns the irrep of the spherical harmonics of a degree, such as `"1o"`.

    Args:
        degree: l; the parity is (-1)^l.
    """
    return f"{degree}{'eo'[degree % 2]}"


def degree_of(irrep: str) -> int:
    """Returns the degree of an irrep given by name, such as 1 for `"1o"`.

    Args:
        irrep: a degree followed by `e` or `o`.

    Raises:
        ValueError: the name is not of this form.
    """
    if not re.fullmatch("(0|[1-9][0-9]?)[eo]", irrep):
        raise ValueError(
            f"{irrep!r} is not an irrep: write a degree and its parity, such as '1o'."
        )
    return int(irrep[:-1])
