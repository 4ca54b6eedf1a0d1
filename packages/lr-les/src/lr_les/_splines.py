"""Cardinal B-splines: smooth weights of a point on its neighbours of a mesh."""

import functools as ft

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def spline_weights(
    offset: Float[Array, "atoms 3"], order: int, derivatives: int
) -> list[Float[Array, "atoms 3 order"]]:
    r"""$M_p(x + p - 1 - j)$ for $j$ = 0 ... p - 1, and derivatives by $x$.

    $$ M_p(x) = \frac{x M_{p-1}(x) + (p - x) M_{p-1}(x - 1)}{p - 1} $$

    as polynomials in $x - 1/2$.

    Args:
        offset: $x$, of a point from the mesh point below it, in spacings, below one.
        order: $p$.
        derivatives: how many.

    Returns:
        The weights and their derivatives, last axis $j$. The weights sum to one.

    References:
        Essmann et al., J. Chem. Phys. 103, 8577 (1995), doi:10.1063/1.470117.
    """
    powers = [jnp.ones_like(offset)]
    for _ in range(order - 1):
        powers.append(powers[-1] * (offset - 0.5))
    stacked = jnp.stack(powers, axis=-1)
    return [
        jnp.matmul(stacked, jnp.asarray(table, offset.dtype), precision="highest")
        for table in _coefficients(order, derivatives)
    ]


@ft.lru_cache(maxsize=32)
def _coefficients(order: int, derivatives: int) -> list[np.ndarray]:
    """Of every power of $x - 1/2$ (rows) in every weight, and of its derivatives."""
    half = np.polynomial.Polynomial([0.5, 1.0])
    weights = [1 - half, half]
    for p in range(3, order + 1):
        padded = [0 * half, *weights, 0 * half]
        weights = [
            ((half + (p - 1 - j)) * padded[j] + ((j + 1) - half) * padded[j + 1])
            / (p - 1)
            for j in range(p)
        ]
    tables = []
    for taken in range(derivatives + 1):
        table = np.zeros((order, order))
        for j, weight in enumerate(weights):
            found = (weight.deriv(taken) if taken else weight).coef[:order]
            table[: len(found), j] = found
        tables.append(table)
    return tables
