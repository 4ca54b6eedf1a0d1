"""Attention in closed form over pairs of atoms: exact and rotation invariant."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._bessel import bessel_over_power
from ._coupling import degrees_of, solid_harmonics

# Number of elements of the largest intermediate array per block of rows.
_BLOCK = 2**21


def attend_pairwise(
    query: Float[Array, "atoms sph qk"],
    key: Float[Array, "atoms sph qk"],
    value: Float[Array, "atoms components v"],
    positions: Float[Array, "atoms 3"],
    frequencies: Float[Array, " pairs"],
    coupling: Float[Array | np.ndarray, "output harmonic components"],
) -> Float[Array, "atoms output v"]:
    r"""The integral over the sphere in closed form, for every pair of atoms.

    $$ \sum_n c_l v_n, \qquad c_l = (-1)^{\lfloor l/2 \rfloor} \sum_k
       j_l(\omega_k d)\, Y_l(\hat d) \{A_k, B_k\}, \qquad d = r_m - r_n $$

    with $A_k$ for even and $B_k$ for odd l. Evaluated as $j_l(x)/x^l$ times solid
    harmonics, which is smooth at $d = 0$.
    """
    atoms, sph, size = query.shape
    by_pair = lambda x: x.reshape(atoms, sph, size // 2, 2)
    queries, keys = by_pair(query), by_pair(key)
    degree = math.isqrt(coupling.shape[1]) - 1

    def row(query, position):
        separation = position - positions
        products = _pair_products(query, keys, odd=degree > 0)
        radial = _radial(products, jnp.sum(separation**2, axis=1), frequencies, degree)
        weights = radial[:, degrees_of(degree)] * solid_harmonics(separation, degree)
        moments = jnp.einsum("nh,ncv->hcv", weights, value, precision="highest")
        return jnp.einsum("ohc,hcv->ov", coupling, moments, precision="highest")

    elements = atoms * max(size, (degree + 1) ** 2 * value.shape[1])
    rows = max(1, _BLOCK // elements)
    if atoms <= rows:
        return jax.vmap(row)(queries, positions)
    row_of = lambda x: row(*x)
    return jax.lax.map(jax.checkpoint(row_of), (queries, positions), batch_size=rows)


def _pair_products(
    query: Float[Array, "sph pairs 2"],
    keys: Float[Array, "atoms sph pairs 2"],
    *,
    odd: bool,
) -> tuple[Float[Array, "atoms pairs"], ...]:
    """Returns $A_k$ for even degrees and, if `odd`, $B_k$ for odd ones."""
    product = lambda q: jnp.einsum("skj,nskj->nk", q, keys, precision="highest")
    rotated = jnp.stack([-query[..., 1], query[..., 0]], axis=-1)
    return (product(query), product(rotated)) if odd else (product(query),)


def _radial(
    products: tuple[Float[Array, "atoms pairs"], ...],
    squared: Float[Array, " atoms"],
    frequencies: Float[Array, " pairs"],
    degree: int,
) -> Float[Array, "atoms degrees"]:
    r"""$c_l / (d^l Y_l)$ for each l."""
    arguments = squared[:, None] * frequencies**2
    terms = []
    for order in range(degree + 1):
        bessel = bessel_over_power(arguments, order) * frequencies**order
        sign = (-1) ** (order // 2)
        terms.append(sign * jnp.sum(products[order % 2] * bessel, axis=1))
    return jnp.stack(terms, axis=1)
