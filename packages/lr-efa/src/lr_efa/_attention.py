"""Euclidean fast attention in open boundaries."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._arguments import centered, check_arguments, is_traced, zero_padding
from ._coupling import (
    coupling_tensor,
    degree_of_axis,
    harmonic_coupling,
    solid_harmonics,
)
from ._lebedev import LebedevGrid
from ._method import Method, one_within_reach, quadrature_grid
from ._pairs import attend_pairwise
from ._waves import RotaryPhases, Waves, attend_with_waves


def attend(  # noqa: PLR0913  terms of the equation
    query: Float[Array, "atoms qk"],
    key: Float[Array, "atoms qk"],
    value: Float[Array, "atoms v"],
    positions: Float[Array, "atoms 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
    *,
    mask: Bool[Array, " atoms"] | None = None,
    method: Method = "auto",
    grid: LebedevGrid | None = None,
    normalize: bool = False,
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
) -> Float[Array, "atoms v"]:
    r"""Attention of every atom to all atoms, weighted by features and distances.

    $$ \mathrm{EFA}_m = \frac{1}{\sqrt{D_{qk}}} \sum_n \sum_k
       (q_{m,2k} k_{n,2k} + q_{m,2k+1} k_{n,2k+1})\,
       \frac{\sin \omega_k r_{mn}}{\omega_k r_{mn}}\, v_n $$

    The atom itself is included, the sum is not divided by the number of atoms, and
    there is no softmax. `method="exact"` sums over pairs of atoms. `"quadrature"`
    rotates every pair of channels by the phase $\omega_k u \cdot r$ and averages over
    the directions u of a Lebedev grid: linear in the number of atoms, rotation
    invariant to the accuracy of the grid. `"auto"` chooses the cheaper one: pairs if
    there are at most two atoms per grid point, or at most 256 atoms without a grid. For
    several heads use `jax.vmap`.

    Args:
        query: queries, channels in pairs (2k, 2k + 1).
        key: keys, channels in pairs (2k, 2k + 1).
        value: values, summed with the weights.
        positions: atomic positions, Å.
        frequencies: $\omega_k$ of each pair of channels, 1/Å, see `frequency_grid`.
        mask: false on padding, which neither acts nor receives; None is no padding.
        method: "exact", "quadrature" or "auto".
        grid: quadrature grid, see `lebedev_grid`. None chooses one for an error of 1e-5
            from positions and frequencies; required where those are traced.
        normalize: divide by the number of atoms.
        cell: must be None; `attend_periodic` takes a cell.

    Returns:
        The weighted sum of values, in their units; exactly zero on padding.

    Raises:
        ValueError: shapes do not fit, a cell is given, or the quadrature grid is
            missing or too small for the extent of the structure.

    References:
        Frank, Chmiela, Müller and Unke, arXiv:2412.08541.
    """
    if {x.ndim for x in (query, key, value)} != {2}:
        raise ValueError(
            "`attend` takes features [atoms, channels], got query, key and value of "
            f"shapes {[list(x.shape) for x in (query, key, value)]}."
        )
    return attend_directional(
        query[:, None],
        key[:, None],
        value[:, None],
        positions,
        frequencies,
        degree=0,
        mask=mask,
        method=method,
        grid=grid,
        normalize=normalize,
        cell=cell,
    )[:, 0]


def attend_directional(  # noqa: PLR0913  terms of the equation
    query: Float[Array, "atoms sph qk"],
    key: Float[Array, "atoms sph qk"],
    value: Float[Array, "atoms components v"],
    positions: Float[Array, "atoms 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
    *,
    degree: int,
    coupling: Float[Array | np.ndarray, " paths"] | None = None,
    mask: Bool[Array, " atoms"] | None = None,
    method: Method = "auto",
    grid: LebedevGrid | None = None,
    normalize: bool = False,
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
) -> Float[Array, "atoms output v"]:
    r"""Attention with equivariant features that depend on the directions of atoms.

    $$ \frac{1}{\sqrt{D_{qk}}} \int \frac{du}{4\pi}\,
       \Big[\sum_n q_m(u)^T k_n(u)\, v_n\Big] \otimes Y_l(u) $$

    with queries and keys rotated by the phase $\omega_k u \cdot r$, their product
    summed over channels and components, and the Clebsch-Gordan product of values and
    harmonics of natural parity. In closed form the integral is
    $i^l j_l(\omega_k d) Y_l(\hat d)$ with $d = r_m - r_n$, times the symmetric product
    of the pairs for even l and the antisymmetric one for odd l.

    Args:
        query: queries of degree L, `(L + 1)**2` components in e3nn order.
        key: keys, of the same shape.
        value: values of any degree.
        positions: atomic positions, Å.
        frequencies: $\omega_k$ of each pair of channels, 1/Å.
        degree: largest l of the harmonics and of the result.
        coupling: weight of each path of `coupling_paths(l of the value, degree)`; None
            is one for every path.
        mask: false on padding; None is no padding.
        method: "exact", "quadrature" or "auto", as in `attend`.
        grid: quadrature grid from `lebedev_grid(..., degree=degree)`; None as in
            `attend`.
        normalize: divide by the number of atoms.
        cell: must be None; `attend_directional_periodic` takes a cell.

    Returns:
        `(degree + 1)**2` components, component-normalized, in e3nn order.

    Raises:
        ValueError: as in `attend`, or components or `coupling` do not fit.

    References:
        Frank, Chmiela, Müller and Unke, arXiv:2412.08541.
    """
    check_arguments(query, key, value, positions, frequencies)
    if cell is not None:
        raise ValueError(
            "A `cell` is given to the open form, which would ignore it: use "
            "`attend_periodic`, or `cell=None` for a molecule."
        )
    degree_of_axis(query.shape[1])
    tensor = coupling_tensor(degree_of_axis(value.shape[1]), degree, coupling)
    if mask is None:
        mask = jnp.ones(len(positions), bool)
    chosen_grid = quadrature_grid(method, grid, positions, frequencies, mask, degree)
    query, key, value, positions = zero_padding(mask, query, key, value, positions)
    positions = centered(positions, mask)
    omegas = jnp.asarray(frequencies, value.dtype)
    tensor = jnp.asarray(tensor, value.dtype)
    if chosen_grid is None:
        result = attend_pairwise(query, key, value, positions, omegas, tensor)
    else:
        phases = _rotary_phases(positions, frequencies)
        waves = _quadrature_waves(chosen_grid, tensor)
        result = attend_with_waves(query, key, value, phases, waves)
        if is_traced(positions, omegas):
            # Multiplied instead of selected with `where`, so that gradients are NaN
            # too.
            result = result * one_within_reach(chosen_grid, positions, omegas)
    divisor = query.shape[-1] ** 0.5
    if normalize:
        divisor = divisor * jnp.maximum(jnp.sum(mask), 1).astype(value.dtype)
    return jnp.where(mask[:, None, None], result / divisor, 0.0)


def _rotary_phases(
    positions: Float[Array, "atoms 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
) -> RotaryPhases:
    """Phases of positions; equally spaced frequencies become multiples of one phase."""
    if not is_traced(frequencies):
        omegas = np.asarray(frequencies)
        step = float(omegas[min(1, len(omegas) - 1)])
        rounding = 4 * np.finfo(omegas.dtype).eps * np.max(np.abs(omegas))
        if np.all(np.abs(omegas - step * np.arange(len(omegas))) <= rounding):
            return RotaryPhases(step * positions[:, None], len(omegas))
    omegas = jnp.asarray(frequencies, positions.dtype)
    return RotaryPhases(positions[:, None] * omegas[:, None], None)


def _quadrature_waves(
    grid: LebedevGrid, coupling: Float[Array, "output harmonic components"]
) -> Waves:
    vectors, weights = (jnp.asarray(x, coupling.dtype) for x in grid.half_sphere())
    harmonics = solid_harmonics(vectors, math.isqrt(coupling.shape[1]) - 1)
    even, odd = harmonic_coupling(harmonics, coupling)
    return Waves(vectors, weights[:, None], even, odd)
