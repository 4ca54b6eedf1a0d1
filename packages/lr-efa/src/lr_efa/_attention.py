"""Euclidean fast attention in open boundaries."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._arguments import centred, check_arguments, is_traced, without_padding
from ._coupling import (
    coupling_tensor,
    degree_of_axis,
    solid_harmonics,
    through_harmonics,
)
from ._method import Method, one_within_reach, quadrature_grid
from ._pairs import attend_to_pairs
from ._sphere import SphereGrid
from ._waves import Rotor, Waves, attend_to_waves


def attend(
    query: Float[Array, "atoms qk"],
    key: Float[Array, "atoms qk"],
    value: Float[Array, "atoms v"],
    positions: Float[Array, "atoms 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
    *,
    mask: Bool[Array, " atoms"] | None = None,
    method: Method = "auto",
    grid: SphereGrid | None = None,
    normalize: bool = False,
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
) -> Float[Array, "atoms v"]:
    r"""The values of all atoms, weighted by features and distances, for every atom.

    $$ \mathrm{EFA}_m = \frac{1}{\sqrt{D_{qk}}} \sum_n \sum_k
       (q_{m,2k} k_{n,2k} + q_{m,2k+1} k_{n,2k+1})\,
       \frac{\sin \omega_k r_{mn}}{\omega_k r_{mn}}\, v_n $$

    The atom itself is included, nothing is divided by the number of atoms, and there is
    no softmax. `method="exact"` sums over pairs of atoms. `"quadrature"` turns every
    pair of channels by the phase $\omega_k u \cdot r$ and averages over directions u of
    a Lebedev grid: linear in atoms, rotation invariant to the accuracy of the grid.
    `"auto"` takes the one that is cheaper: pairs up to two atoms a point of the grid,
    and up to 256 atoms where no grid is given. For several heads use `jax.vmap`.

    Args:
        query: channels in pairs (2k, 2k + 1).
        key: channels in pairs (2k, 2k + 1).
        value: what is summed.
        positions: Å.
        frequencies: $\omega_k$, see `frequencies`, 1/Å.
        mask: false on padding, which neither acts nor receives.
        method: which form.
        grid: of the quadrature, see `lebedev`; chosen for an error of 1e-5 from
            positions and frequencies if absent, required where they are traced.
        normalize: divide by the number of atoms.
        cell: must be None: see `attend_periodic`.

    Returns:
        In the units of the values; exactly zero on padding.

    Raises:
        ValueError: shapes do not fit, a cell is given, or the quadrature has no grid or
            one that does not reach across the structure.

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


def attend_directional(
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
    grid: SphereGrid | None = None,
    normalize: bool = False,
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
) -> Float[Array, "atoms output v"]:
    r"""Features up to a degree that know in which directions the other atoms lie.

    $$ \frac{1}{\sqrt{D_{qk}}} \int \frac{du}{4\pi}\,
       \Big[\sum_n q_m(u)^T k_n(u)\, v_n\Big] \otimes Y_l(u) $$

    with queries and keys turned by the phase $\omega_k u \cdot r$, their product summed
    over channels and components, and the Clebsch-Gordan product of values and harmonics
    of natural parity. In closed form the integral is
    $i^l j_l(\omega_k d) Y_l(\hat d)$ with $d = r_m - r_n$, times the symmetric product
    of the pairs for even l and the antisymmetric one for odd l.

    Args:
        query: of degree L, `(L + 1)**2` components in e3nn order.
        key: of the same shape.
        value: of any degree.
        positions: Å.
        frequencies: $\omega_k$, 1/Å.
        degree: largest l of the harmonics and of the result.
        coupling: weight of each of `coupling_paths(l of the value, degree)`; ones.
        mask: false on padding.
        method: which form, as in `attend`.
        grid: of the quadrature, `lebedev(..., degree=degree)`.
        normalize: divide by the number of atoms.
        cell: must be None: see `attend_directional_periodic`.

    Returns:
        `(degree + 1)**2` components, component-normalised, in e3nn order.

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
    coupled = coupling_tensor(degree_of_axis(value.shape[1]), degree, coupling)
    if mask is None:
        mask = jnp.ones(len(positions), bool)
    chosen = quadrature_grid(method, grid, positions, frequencies, mask, degree)
    query, key, value, positions = without_padding(mask, query, key, value, positions)
    positions = centred(positions, mask)
    omegas = jnp.asarray(frequencies, value.dtype)
    tensor = jnp.asarray(coupled, value.dtype)
    if chosen is None:
        result = attend_to_pairs(query, key, value, positions, omegas, tensor)
    else:
        rotor = _rotor(positions, frequencies)
        waves = _waves_on(chosen, tensor)
        result = attend_to_waves(query, key, value, rotor, waves)
        if is_traced(positions, omegas):
            # Multiplied, not selected: the gradients beyond the reach are NaN too.
            result = result * one_within_reach(chosen, positions, omegas)
    divisor = query.shape[-1] ** 0.5
    if normalize:
        divisor = divisor * jnp.maximum(jnp.sum(mask), 1).astype(value.dtype)
    return jnp.where(mask[:, None, None], result / divisor, 0.0)


def _rotor(
    positions: Float[Array, "atoms 3"],
    frequencies: Float[Array | np.ndarray, " pairs"],
) -> Rotor:
    """Equally spaced frequencies from zero are multiples of the first step."""
    if not is_traced(frequencies):
        known = np.asarray(frequencies)
        step = float(known[min(1, len(known) - 1)])
        rounding = 4 * np.finfo(known.dtype).eps * np.max(np.abs(known))
        if np.all(np.abs(known - step * np.arange(len(known))) <= rounding):
            return Rotor(step * positions[:, None], len(known))
    omegas = jnp.asarray(frequencies, positions.dtype)
    return Rotor(positions[:, None] * omegas[:, None], None)


def _waves_on(
    grid: SphereGrid, coupling: Float[Array, "output harmonic components"]
) -> Waves:
    vectors, weights = (jnp.asarray(x, coupling.dtype) for x in grid.half())
    harmonics = solid_harmonics(vectors, math.isqrt(coupling.shape[1]) - 1)
    even, odd = through_harmonics(harmonics, coupling)
    return Waves(vectors, weights[:, None], even, odd)
