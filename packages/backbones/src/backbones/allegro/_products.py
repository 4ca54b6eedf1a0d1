"""Channel-wise tensor products of features and harmonics."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from e3nn_jax import clebsch_gordan
from jaxtyping import Array, Float

from .._irreps import degree_of, natural_irrep


class Path(NamedTuple):
    """The irreps of a tensor product, such as `"1o"` times `"1o"` to `"0e"`."""

    feature: str
    harmonic: str
    product: str


def couplings(
    features: tuple[str, ...], l_max: int, products: tuple[str, ...]
) -> tuple[Path, ...]:
    """Returns the paths from a feature and a harmonic to one of the products.

    They are ordered by product, feature and harmonic, each in the given order.

    Args:
        features: irreps of the features.
        l_max: highest degree of the harmonics.
        products: irreps of the products.
    """
    paths = [
        Path(a, natural_irrep(b), c)
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
    environment: Float[Array, "edges harmonics channels"],
    path: Path,
) -> Float[Array, "edges outputs channels"]:
    """Returns the Clebsch-Gordan product of two arrays, channel by channel.

    It is scaled to unit variance of the components. Only the nonzero coefficients are
    multiplied, which XLA fuses into one pass over the edges.

    Args:
        feature: components of the first irrep of the path.
        environment: components of the second.
        path: the irreps.
    """
    table = clebsch_gordan(*map(degree_of, path))
    table = table * table.shape[2] ** 0.5
    columns = []
    for m in range(table.shape[2]):
        terms = [
            float(table[a, b, m]) * feature[:, a] * environment[:, b]
            for a, b in zip(*np.nonzero(np.abs(table[:, :, m]) > 1e-9), strict=True)
        ]
        columns.append(sum(terms))
    return jnp.stack(columns, axis=1)
