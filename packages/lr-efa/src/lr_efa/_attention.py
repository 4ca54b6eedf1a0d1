"""Euclidean fast attention, open or periodic."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._arguments import Features, check_arguments
from ._coupling import coupling_tensor, degree_of_axis
from ._method import Method, quadrature_grid
from ._open import attend_open
from ._open_plan import OpenPlan
from ._periodic import attend_periodic, checked_shells
from ._shell import ShellGrid


def attend(  # noqa: PLR0913  terms of the equations, open and periodic
    query: Float[Array, " atoms *sph qk"],
    key: Float[Array, " atoms *sph qk"],
    value: Float[Array, " atoms *components v"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    frequencies: Float[Array | np.ndarray, " pairs"],
    degree: int = 0,
    plan: OpenPlan | ShellGrid | None = None,
    mask: Bool[Array, " atoms"] | None = None,
    coupling: Float[Array | np.ndarray, " paths"] | None = None,
    shell_thickness: float = 0.15,
    method: Method = "auto",
    normalize: bool = False,
) -> Float[Array, " atoms *output v"]:
    r"""Attention of every atom to all atoms, weighted by features and distances.

    Open boundaries (`cell=None`), for scalars:

    $$ \mathrm{EFA}_m = \frac{1}{\sqrt{D_{qk}}} \sum_n \sum_k A_k
       \frac{\sin \omega_k r_{mn}}{\omega_k r_{mn}}\, v_n, \qquad
       A_k = q_{m,2k} k_{n,2k} + q_{m,2k+1} k_{n,2k+1} $$

    The atom itself is included, the sum is not divided by the number of atoms, and
    there is no softmax. `method="exact"` sums over pairs of atoms. `"quadrature"`
    rotates every pair of channels by the phase $\omega_k u \cdot r$ and averages over
    the directions u of a Lebedev grid: linear in the number of atoms, rotation
    invariant to the accuracy of the grid. `"auto"` chooses the cheaper one: pairs if
    there are at most two atoms per grid point, or at most 256 atoms without a plan.

    Periodic, over the reciprocal lattice with $K = 0$:

    $$ \mathrm{EFA}_m = \frac{1}{\sqrt{D_{qk}}} \frac{(2\pi)^3}{V} \sum_{K, k}
       w_k(|K|) \sum_n A_k \cos K \cdot (r_m - r_n)\, v_n, \qquad
       w_k = n_k e^{-(K - \omega_k)^2 / 2 s^2} $$

    with $n_k$ such that $\int w_k d^3K = 1$. It equals the sum over all images with a
    kernel that is $\sin(\omega_k r)/(\omega_k r)$ at short distances and zero beyond
    about 2.5/s. Translations, wrapping, the choice of the unit cell and supercells do
    not change the results. They are smooth functions of the cell, because each shell
    ends in a smooth window over the last s before $\omega_k + 6 s$.

    With `degree` L above zero the product of the keys and values is averaged with
    spherical harmonics up to L,

    $$ \frac{1}{\sqrt{D_{qk}}} \int \frac{du}{4\pi}\,
       \Big[\sum_n q_m(u)^T k_n(u)\, v_n\Big] \otimes Y_l(u) $$

    with queries and keys rotated by the phase $\omega_k u \cdot r$ and summed over
    channels and components, and the Clebsch-Gordan product of natural parity. In closed
    form the integral is $i^l j_l(\omega_k d) Y_l(\hat d)$ with $d = r_m - r_n$, times
    the symmetric product of the pairs for even l and the antisymmetric one for odd l.
    In a cell the sum over K has the cosine for even l, the sine for odd l, and
    $Y_l(\hat K)$; $K = 0$ has no direction and contributes to $l = 0$ only.

    For several heads use `jax.vmap`. A structure that the plan does not cover gives NaN
    under a trace.

    Args:
        query: queries, channels in pairs (2k, 2k + 1); scalars [atoms, channels], or
            features of degree l, `(l + 1)**2` components in e3nn order.
        key: keys, of the same shape.
        value: values of any degree, summed with the weights.
        positions: atomic positions, Å, wrapped into the cell or not.
        cell: rows are lattice vectors, Å; None is open.
        frequencies: $\omega_k$ of each pair of channels, 1/Å, see `frequency_grid`; not
            traced in a cell.
        degree: largest l of the harmonics and of the result.
        plan: from `OpenPlan.for_structures` or `ShellGrid.for_structures`, of one
            structure. None derives it from arguments that are not traced. "exact", and
            "auto" where it sums pairs, is right for molecules beyond an `OpenPlan` too.
        mask: false on padding, which neither acts nor receives; None is no padding.
        coupling: weight of each path of `coupling_paths(l of the value, degree)`; None
            is one for every path.
        shell_thickness: thickness s of the reciprocal shells, the standard deviation of
            their Gaussian profile, 1/Å; used in a cell only.
        method: "exact", "quadrature" or "auto"; used in open boundaries only.
        normalize: divide by the number of atoms; in a cell by the number within range,
            $1 + (2\pi)^{3/2} N / (V s^3)$, without which results grow with the density.

    Returns:
        The weighted sum of values, in their units: scalars for scalars at degree 0,
        else `(degree + 1)**2` components, component-normalized, in e3nn order. Exactly
        zero on padding.

    Raises:
        ValueError: shapes do not fit, the cell is singular, `shell_thickness` is not
            positive, or the plan is missing, has a batch axis, is one for other
            boundaries, or does not cover the structure or the frequencies.

    References:
        Frank, Chmiela, Müller and Unke, arXiv:2412.08541, for the open form.
    """
    check_arguments(query, key, value, positions, frequencies, mask)
    features = Features(query, key, value)
    is_plain = query.ndim == 2
    if is_plain:
        features = Features(*(x[:, None] for x in features))
    degree_of_axis(features.query.shape[1])
    value_degree = degree_of_axis(features.value.shape[1])
    tensor = coupling_tensor(value_degree, degree, coupling)
    if mask is None:
        mask = jnp.ones(len(positions), bool)
    if cell is None:
        grid = quadrature_grid(method, plan, positions, frequencies, mask, degree)
        result = attend_open(
            features, positions, mask, frequencies, tensor, grid, normalize=normalize
        )
    else:
        structure = positions, mask, cell
        shells = checked_shells(plan, *structure, frequencies, shell_thickness)
        omegas = np.asarray(frequencies, float)
        result = attend_periodic(
            features,
            *structure,
            omegas,
            tensor,
            shells,
            shell_thickness=shell_thickness,
            normalize=normalize,
        )
    return result[:, 0] if is_plain and degree == 0 else result
