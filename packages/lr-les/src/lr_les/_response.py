"""Polarisation and its derivative by the positions: Born effective charges."""

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
    r"""The dipole moment of a molecule; of a crystal, its phase form.

    $$ P = \sum_i (q_i r_i + u_i) \quad \text{(open)}, \qquad
       P = \sum_i \Big( q_i \sum_a \frac{c_a}{2\pi i} e^{2\pi i f_{ia}} + u_i \Big)
       \quad \text{(periodic)} $$

    with lattice vectors $c_a$ and fractional coordinates $f$. The phase form does not
    change when atoms are wrapped. It has no meaning by itself: its derivatives do, once
    the phase of every atom is taken out, as `born_charges` does.

    Args:
        charges: e.
        positions: Å; the dipole of a charged molecule depends on their origin.
        cell: rows are lattice vectors, Å; None is open.
        dipoles: of the atoms, e Å.
        mask: false on padding.

    Returns:
        e Å; real in open boundaries, complex in a cell.

    Raises:
        ValueError: shapes do not fit, or the cell is singular.

    References:
        Zhong et al., arXiv:2504.05169.
    """
    _check_shapes(positions, charges, dipoles)
    live = jnp.ones(len(positions), bool) if mask is None else mask
    charges = jnp.where(live, charges, 0.0)
    positions = jnp.where(live[:, None], positions, 0.0)
    total = 0.0
    if dipoles is not None:
        total = jnp.sum(jnp.where(live[:, None], dipoles, 0.0), axis=0)
    if cell is None:
        return jnp.matmul(charges, positions, precision="highest") + total
    lattice, turns = _turns(positions, cell)
    waves = jnp.sin(turns) - 1j * jnp.cos(turns)
    along = jnp.sum(charges[:, None] * waves, axis=0) / (2 * math.pi)
    return jnp.matmul(along, lattice + 0j, precision="highest") + total


def born_charges(
    charges: Charges | Callable[..., Moments],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    eps_inf: float | Float[Array, ""] = 1.0,
    mask: Bool[Array, " atoms"] | None = None,
) -> Float[Array, "atoms 3 3"]:
    r"""Born effective charges: how the polarisation follows the atoms.

    $$ Z^*_{j,cb} = \sqrt{\epsilon_\infty} \frac{\partial P_c}{\partial r_{jb}} =
       \sqrt{\epsilon_\infty} \Big\{ q_j \delta_{cb} + \sum_i \Big( x_{ij,c}
       \frac{\partial q_i}{\partial r_{jb}} + \frac{\partial u_{ic}}{\partial r_{jb}}
       \Big) \Big\} $$

    with $x_{ij} = r_i$ in open boundaries and $x_{ij} = \sum_a c_a \sin(2\pi (f_{ia} -
    f_{ja}))/(2\pi)$ in a cell: the derivative of the phase form of `polarization` with
    the phase of atom $j$ taken out, real part. Fixed charges give $q_j$ times one, in
    any cell. With charges that follow their surroundings the open form is exact, and
    $\sum_j Z^*_j$ is the total charge times one; the periodic form is an approximation
    that depends on the choice of the cell and approaches one displaced atom in an
    infinite crystal as $1/L^2$. The total charge must not depend on the positions:
    subtract the mean charge where it would.

    Args:
        charges: fixed ones, e; or a function of `positions` and `cell` that returns
            them, alone or with the dipoles of the atoms (e Å). Its own derivative is
            taken at fixed cell.
        positions: Å.
        cell: rows are lattice vectors, Å; None is open.
        eps_inf: high-frequency relative permittivity; its root turns latent charges
            into physical ones.
        mask: false on padding.

    Returns:
        e, as [atom, direction of polarisation, direction of displacement]. Published
        label files often hold the transpose. Zero on padding.

    Raises:
        ValueError: shapes do not fit, the cell is singular, or `eps_inf` is not
            positive.

    References:
        Zhong et al., arXiv:2504.05169.
    """
    if not isinstance(eps_inf, jax.Array) and not eps_inf > 0:
        raise ValueError(f"`eps_inf` must be positive, got {eps_inf}.")
    _check_positions(positions)
    live = jnp.ones(len(positions), bool) if mask is None else mask
    positions = jnp.where(live[:, None], positions, 0.0)
    if callable(charges):

        def follow(places):
            found = charges(places, cell)
            found, dipoles = found if isinstance(found, tuple) else (found, None)
            _check_shapes(places, found, dipoles)
            return _masked(found, dipoles, live)

        (fixed, dipoles), pull = jax.vjp(follow, positions)
        response = _response(pull, positions, cell, dipoles is not None)
    else:
        _check_shapes(positions, charges, None)
        fixed, response = charges, 0.0
    total = fixed[:, None, None] * jnp.eye(3, dtype=positions.dtype) + response
    return jnp.where(live[:, None, None], jnp.sqrt(eps_inf) * total, 0.0)


def quadrupole(
    charges: Float[Array, " atoms"],
    positions: Float[Array, "atoms 3"],
    *,
    dipoles: Float[Array, "atoms 3"] | None = None,
    quadrupoles: Float[Array, "atoms 3 3"] | None = None,
    mask: Bool[Array, " atoms"] | None = None,
) -> Float[Array, "3 3"]:
    r"""The traceless second moment of a molecule.

    $$ Q = \sum_i (q_i r_i r_i + u_i r_i + r_i u_i + Q_i) - \text{trace} $$

    Args:
        charges: e.
        positions: Å, from the origin that the moment is meant for.
        dipoles: of the atoms, e Å.
        quadrupoles: of the atoms, e Å².
        mask: false on padding.

    Returns:
        e Å², symmetric; tables often list 3/2 of it.

    Raises:
        ValueError: shapes do not fit.
    """
    _check_shapes(positions, charges, dipoles)
    live = jnp.ones(len(positions), bool) if mask is None else mask
    charges = jnp.where(live, charges, 0.0)
    positions = jnp.where(live[:, None], positions, 0.0)
    total = jnp.einsum(
        "i,ia,ib->ab", charges, positions, positions, precision="highest"
    )
    if dipoles is not None:
        dipoles = jnp.where(live[:, None], dipoles, 0.0)
        half = jnp.matmul(dipoles.T, positions, precision="highest")
        total = total + half + half.T
    if quadrupoles is not None:
        own = jnp.where(live[:, None, None], quadrupoles, 0.0)
        total = total + jnp.sum(own, axis=0)
    return traceless(total)


def _turns(
    positions: Float[Array, "atoms 3"], cell: Float[Array | np.ndarray, "3 3"]
) -> tuple[Float[Array, "3 3"], Float[Array, "atoms 3"]]:
    """The cell, and fractional coordinates as angles without whole turns."""
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
    live: Bool[Array, " atoms"],
) -> tuple[Float[Array, " atoms"], Float[Array, "atoms 3"] | None]:
    if dipoles is not None:
        dipoles = jnp.where(live[:, None], dipoles, 0.0)
    return jnp.where(live, charges, 0.0), dipoles


def _response(
    pull: Callable,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None,
    has_dipoles: bool,
) -> Float[Array, "atoms 3 3"]:
    """What the derivatives of charges and dipoles add, one pull a direction."""
    whole = jnp.eye(3, dtype=positions.dtype)[:, None, :]
    along = jnp.broadcast_to(whole, (3, *positions.shape)) if has_dipoles else None
    each = jax.vmap(lambda charges, dipoles: pull((charges, dipoles))[0])
    if cell is None:
        return jnp.moveaxis(each(positions.T, along), 0, 1)
    lattice, turns = _turns(positions, cell)
    nothing = None if along is None else jnp.zeros_like(along)
    sine, cosine = jnp.sin(turns).T, jnp.cos(turns).T
    found = cosine[:, :, None] * each(sine, nothing)
    found = (found - sine[:, :, None] * each(cosine, nothing)) / (2 * math.pi)
    found = jnp.einsum("ac,ajb->jcb", lattice, found, precision="highest")
    if along is not None:
        dipoles = each(jnp.zeros_like(positions.T), along)
        found = found + jnp.moveaxis(dipoles, 0, 1)
    return found
