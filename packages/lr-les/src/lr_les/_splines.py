"""Cardinal B-splines: weights of a point on the neighboring mesh points."""

import functools as ft

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def spline_weights(
    offset: Float[Array, "atoms 3"], order: int, derivatives: int
) -> list[Float[Array, "atoms 3 order"]]:
    r"""$M_p(x + p - 1 - j)$ for $j$ = 0 ... p - 1, and derivatives with respect to $x$.

    $$ M_p(x) = \frac{x M_{p-1}(x) + (p - x) M_{p-1}(x - 1)}{p - 1} $$

    evaluated as polynomials in $x - 1/2$.

    Args:
        offset: $x$, distance of a point from the mesh point below it, in units of the
            mesh spacing, between zero and one.
        order: $p$, order of the splines.
        derivatives: number of derivatives.

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
    """Coefficients of the powers of $x - 1/2$ (rows) in weights and derivatives."""
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
    for derivative in range(derivatives + 1):
        table = np.zeros((order, order))
        for j, weight in enumerate(weights):
            polynomial = weight.deriv(derivative) if derivative else weight
            coefficients = polynomial.coef[:order]
            table[: len(coefficients), j] = coefficients
        tables.append(table)
    return tables
