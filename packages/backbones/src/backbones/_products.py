"""Channel-wise products of an edge's features with its centre's surroundings."""

import re
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from e3nn_jax import clebsch_gordan
from jaxtyping import Array, Float


class Path(NamedTuple):
    """One coupling of two irreps to a third, by name: `"1o"`, `"1o"`, `"0e"`."""

    feature: str
    harmonic: str
    product: str


def natural(degree: int) -> str:
    """The irrep of the harmonics of a degree."""
    return f"{degree}{'eo'[degree % 2]}"


def degree_of(irrep: str) -> int:
    """The degree in the name of an irrep, such as 1 in `"1o"`.

    Raises:
        ValueError: the name is not a degree followed by e or o.
    """
    if not re.fullmatch("(0|[1-9][0-9]?)[eo]", irrep):
        raise ValueError(
            f"{irrep!r} is no irrep: write a degree and its parity, such as '1o'."
        )
    return int(irrep[:-1])


def couplings(
    features: tuple[str, ...], l_max: int, products: tuple[str, ...]
) -> tuple[Path, ...]:
    """All ways from a feature and a harmonic up to `l_max` to one of the products.

    Ordered by product, feature, harmonic, each in the order given.
    """
    paths = [
        Path(a, natural(b), c)
        for c in products
        for a in features
        for b in range(l_max + 1)
    ]
    return tuple(path for path in paths if _allowed(path))


def _allowed(path: Path) -> bool:
    a, b, c = map(degree_of, path)
    odd = sum(name.endswith("o") for name in path)
    return abs(a - b) <= c <= a + b and odd % 2 == 0


def channelwise_product(
    feature: Float[Array, "edges inputs channels"],
    surroundings: Float[Array, "edges harmonics channels"],
    path: Path,
) -> Float[Array, "edges outputs channels"]:
    """The Clebsch-Gordan product of every channel with its own partner.

    Scaled to unit variance of the components. Only the nonzero coefficients are
    multiplied, which the compiler fuses to one pass over the edges.
    """
    table = clebsch_gordan(*map(degree_of, path))
    table = table * table.shape[2] ** 0.5
    columns = []
    for m in range(table.shape[2]):
        terms = [
            float(table[a, b, m]) * feature[:, a] * surroundings[:, b]
            for a, b in zip(*np.nonzero(np.abs(table[:, :, m]) > 1e-9), strict=True)
        ]
        columns.append(sum(terms))
    return jnp.stack(columns, axis=1)
