"""Cardinal B-splines: smooth weights of a point on its neighbours of a mesh."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def spline_weights(
    offset: Float[Array, "atoms 3"], order: int, derivatives: int
) -> list[Float[Array, "atoms 3 order"]]:
    r"""$M_p(x + p - 1 - j)$ for $j$ = 0 ... p - 1, and derivatives by $x$.

    $$ M_p(x) = \frac{x M_{p-1}(x) + (p - x) M_{p-1}(x - 1)}{p - 1}, \qquad
       M_p'(x) = M_{p-1}(x) - M_{p-1}(x - 1) $$

    Args:
        offset: $x$, of a point from the mesh point below it, in spacings, below one.
        order: $p$.
        derivatives: how many.

    Returns:
        The weights and their derivatives, last axis $j$. The weights sum to one.

    References:
        Essmann et al., J. Chem. Phys. 103, 8577 (1995), doi:10.1063/1.470117.
    """
    found = []
    for taken in range(derivatives + 1):
        weights = _values(offset, order - taken)
        for _ in range(taken):
            ends = [(0, 0)] * offset.ndim
            before = jnp.pad(weights, [*ends, (1, 0)])
            weights = before - jnp.pad(weights, [*ends, (0, 1)])
        found.append(weights)
    return found


def _values(
    offset: Float[Array, "atoms 3"], order: int
) -> Float[Array, "atoms 3 order"]:
    weights = [1.0 - offset, offset]
    for p in range(3, order + 1):
        padded = [jnp.zeros_like(offset), *weights, jnp.zeros_like(offset)]
        weights = []
        for j in range(p):
            x = offset + (p - 1 - j)
            weights.append((x * padded[j] + (p - x) * padded[j + 1]) / (p - 1))
    return jnp.stack(weights, axis=-1)
