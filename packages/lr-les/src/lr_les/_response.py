"""Polarization and its derivative with respect to positions: Born charges."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Complex, Float

from ._lattice import checked_cells, reciprocal
from ._multipoles import traceless

Charges = Float[Array, " atoms"]
Moments = Charges | tuple[Charges, Float[Array, "atoms 3"]]


def polarization(
    charges: Float[Array, " atoms"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    dipoles: Float[Array, "atoms 3"] | None = None,
    mask: Bool[Array, " atoms"] | None = None,
) -> Float[Array, "3"] | Complex[Array, "3"]:
    r"""Dipole moment of a molecule, or the phase form of that of a crystal.

    $$ P = \sum_i (q_i r_i + u_i) \quad \text{(open)}, \qquad
       P = \sum_i \Big( q_i \sum_a \frac{c_a}{2\pi i} e^{2\pi i f_{ia}} + u_i \Big)
       \quad \text{(periodic)} $$

    with lattice vectors $c_a$ and fractional coordinates $f$. The phase form does not
    depend on how atoms are wrapped into the cell. Its value has no physical meaning;
    its derivatives do, after division by the phase factor of each atom, as in
    `born_charges`.

    Args:
        charges: charge of every atom, e.
        positions: atomic positions, Å; the dipole of a charged molecule depends on the
            origin.
        cell: rows are lattice vectors, Å; None is open.
        dipoles: dipole of every atom, e Å; None is zero.
        mask: false on padding; None is no padding.

    Returns:
        The dipole moment, e Å; real in open boundaries, complex in a cell.

    Raises:
        ValueError: shapes do not fit, or the cell is singular.

    References:
        Zhong et al., arXiv:2504.05169.
    """
    _check_shapes(positions, charges, dipoles)
    mask = jnp.ones(len(positions), bool) if mask is None else mask
    charges = jnp.where(mask, charges, 0.0)
    positions = jnp.where(mask[:, None], positions, 0.0)
    total = 0.0
    if dipoles is not None:
        total = jnp.sum(jnp.where(mask[:, None], dipoles, 0.0), axis=0)
    if cell is None:
        return jnp.matmul(charges, positions, precision="highest") + total
    lattice, phases = _lattice_phases(positions, cell)
    waves = jnp.sin(phases) - 1j * jnp.cos(phases)
    fractional = jnp.sum(charges[:, None] * waves, axis=0) / (2 * math.pi)
    return jnp.matmul(fractional, lattice + 0j, precision="highest") + total


def born_charges(
    charges: Charges | Callable[..., Moments],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    eps_inf: float | Float[Array, ""] = 1.0,
    mask: Bool[Array, " atoms"] | None = None,
) -> Float[Array, "atoms 3 3"]:
    r"""Born effective charges, the derivative of polarization by displacements.

    $$ Z^*_{j,cb} = \sqrt{\epsilon_\infty} \frac{\partial P_c}{\partial r_{jb}} =
       \sqrt{\epsilon_\infty} \Big\{ q_j \delta_{cb} + \sum_i \Big( x_{ij,c}
       \frac{\partial q_i}{\partial r_{jb}} + \frac{\partial u_{ic}}{\partial r_{jb}}
       \Big) \Big\} $$

    with $x_{ij} = r_i$ in open boundaries and $x_{ij} = \sum_a c_a \sin(2\pi (f_{ia} -
    f_{ja}))/(2\pi)$ in a cell: the real part of the derivative of the phase form of
    `polarization`, divided by the phase factor of atom $j$. For fixed charges it is
    $q_j$ times the identity, in any cell. For charges that depend on the environment
    the open form is exact, and $\sum_j Z^*_j$ is the total charge times the identity.
    The periodic form is then an approximation that depends on the choice of the cell;
    it converges as $1/L^2$ to the value for one displaced atom in an infinite crystal.
    The total charge must not depend on the positions: subtract the mean charge if it
    does.

    Args:
        charges: fixed charges, e; or a function of `positions` and `cell` that returns
            charges, or charges and dipoles of the atoms (e Å). The function is
            differentiated with respect to positions at fixed cell.
        positions: atomic positions, Å.
        cell: rows are lattice vectors, Å; None is open.
        eps_inf: high-frequency relative permittivity; its square root converts latent
            charges to physical ones.
        mask: false on padding; None is no padding.

    Returns:
        Tensors [atom, direction of polarization, direction of displacement], e.
        Published label files often contain the transpose. Zero on padding.

    Raises:
        ValueError: shapes do not fit, the cell is singular, or `eps_inf` is not
            positive.

    References:
        Zhong et al., arXiv:2504.05169.
    """
    if not isinstance(eps_inf, jax.Array) and not eps_inf > 0:
        raise ValueError(f"`eps_inf` must be positive, got {eps_inf}.")
    _check_positions(positions)
    mask = jnp.ones(len(positions), bool) if mask is None else mask
    positions = jnp.where(mask[:, None], positions, 0.0)
    if callable(charges):

        def moments(positions):
            result = charges(positions, cell)
            values, dipoles = result if isinstance(result, tuple) else (result, None)
            _check_shapes(positions, values, dipoles)
            return _masked(values, dipoles, mask)

        (values, dipoles), pullback = jax.vjp(moments, positions)
        response = _response(pullback, positions, cell, dipoles is not None)
    else:
        _check_shapes(positions, charges, None)
        values, response = charges, 0.0
    total = values[:, None, None] * jnp.eye(3, dtype=positions.dtype) + response
    return jnp.where(mask[:, None, None], jnp.sqrt(eps_inf) * total, 0.0)


def quadrupole(
    charges: Float[Array, " atoms"],
    positions: Float[Array, "atoms 3"],
    *,
    dipoles: Float[Array, "atoms 3"] | None = None,
    quadrupoles: Float[Array, "atoms 3 3"] | None = None,
    mask: Bool[Array, " atoms"] | None = None,
) -> Float[Array, "3 3"]:
    r"""Traceless second moment of a molecule.

    $$ Q = \sum_i (q_i r_i r_i + u_i r_i + r_i u_i + Q_i) - \text{trace} $$

    Args:
        charges: charge of every atom, e.
        positions: atomic positions relative to the origin of the moment, Å.
        dipoles: dipole of every atom, e Å; None is zero.
        quadrupoles: second moment of every atom, e Å²; None is zero.
        mask: false on padding; None is no padding.

    Returns:
        The second moment, e Å², symmetric; tables often list 3/2 of it.

    Raises:
        ValueError: shapes do not fit.
    """
    _check_shapes(positions, charges, dipoles)
    mask = jnp.ones(len(positions), bool) if mask is None else mask
    charges = jnp.where(mask, charges, 0.0)
    positions = jnp.where(mask[:, None], positions, 0.0)
    total = jnp.einsum(
        "i,ia,ib->ab", charges, positions, positions, precision="highest"
    )
    if dipoles is not None:
        dipoles = jnp.where(mask[:, None], dipoles, 0.0)
        half = jnp.matmul(dipoles.T, positions, precision="highest")
        total = total + half + half.T
    if quadrupoles is not None:
        atomic = jnp.where(mask[:, None, None], quadrupoles, 0.0)
        total = total + jnp.sum(atomic, axis=0)
    return traceless(total)


def _lattice_phases(
    positions: Float[Array, "atoms 3"], cell: Float[Array | np.ndarray, "3 3"]
) -> tuple[Float[Array, "3 3"], Float[Array, "atoms 3"]]:
    """Returns the cell, and fractional coordinates as angles between -π and π."""
    if not isinstance(cell, Tracer):
        checked_cells(np.asarray(cell))
    lattice = jnp.asarray(cell, positions.dtype)
    dual, _ = reciprocal(lattice)
    fractional = jnp.matmul(positions, dual.T, precision="highest")
    fractional = fractional - jax.lax.stop_gradient(jnp.round(fractional))
    return lattice, 2 * math.pi * fractional


def _check_shapes(
    positions: Float[Array, "..."],
    charges: Float[Array, "..."],
    dipoles: Float[Array, "..."] | None,
) -> None:
    _check_positions(positions)
    atoms = positions.shape[0]
    if charges.shape != (atoms,):
        raise ValueError(
            f"`charges` are one per atom, shape [{atoms}], got {list(charges.shape)}: "
            "add up charge channels first."
        )
    if dipoles is not None and dipoles.shape != (atoms, 3):
        raise ValueError(
            f"`dipoles` are one per atom, shape [{atoms}, 3], got "
            f"{list(dipoles.shape)}: add up charge channels first."
        )


def _check_positions(positions: Float[Array, "..."]) -> None:
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ValueError(
            f"`positions` has shape [atoms, 3], got {list(positions.shape)}; for a "
            "batch of structures use `jax.vmap`."
        )


def _masked(
    charges: Float[Array, " atoms"],
    dipoles: Float[Array, "atoms 3"] | None,
    mask: Bool[Array, " atoms"],
) -> tuple[Float[Array, " atoms"], Float[Array, "atoms 3"] | None]:
    if dipoles is not None:
        dipoles = jnp.where(mask[:, None], dipoles, 0.0)
    return jnp.where(mask, charges, 0.0), dipoles


def _response(
    pullback: Callable,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None,
    has_dipoles: bool,
) -> Float[Array, "atoms 3 3"]:
    """The contribution of the derivatives of charges and dipoles."""
    identity = jnp.eye(3, dtype=positions.dtype)[:, None, :]
    unit = jnp.broadcast_to(identity, (3, *positions.shape)) if has_dipoles else None
    pull_all = jax.vmap(lambda charges, dipoles: pullback((charges, dipoles))[0])
    if cell is None:
        return jnp.moveaxis(pull_all(positions.T, unit), 0, 1)
    lattice, phases = _lattice_phases(positions, cell)
    zeros = None if unit is None else jnp.zeros_like(unit)
    sine, cosine = jnp.sin(phases).T, jnp.cos(phases).T
    response = cosine[:, :, None] * pull_all(sine, zeros)
    response = response - sine[:, :, None] * pull_all(cosine, zeros)
    response = response / (2 * math.pi)
    response = jnp.einsum("ac,ajb->jcb", lattice, response, precision="highest")
    if unit is not None:
        dipoles = pull_all(jnp.zeros_like(positions.T), unit)
        response = response + jnp.moveaxis(dipoles, 0, 1)
    return response
