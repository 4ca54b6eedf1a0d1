"""Born effective charges of charges that depend on the positions."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._checks import check_permittivity
from ._lattice import check_positions
from ._moments import lattice_phases

Charges = Float[Array, " atoms"]
Moments = Charges | tuple[Charges, Float[Array, "atoms 3"]]


def born_charges(
    charges: Callable[..., Moments],
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
    `ChargeSystem.polarization`, divided by the phase factor of atom $j$. For fixed
    charges, `ChargeSystem.born_charges`, it is $q_j$ times the identity, in any cell.
    For charges that depend on the environment the open form is exact, and
    $\sum_j Z^*_j$ is the total charge times the identity. The periodic form is then an
    approximation that depends on the choice of the cell; it converges as $1/L^2$ to the
    value for one displaced atom in an infinite crystal. The total charge must not
    depend on the positions: subtract the mean charge if it does.

    Args:
        charges: function of `positions` and `cell` that returns charges (e), or charges
            and dipoles (e Å), of the atoms. It is differentiated with respect to
            positions at fixed cell.
        positions: atomic positions, Å.
        cell: rows are lattice vectors, Å; None is open.
        eps_inf: high-frequency relative permittivity; its square root converts latent
            charges to physical ones.
        mask: false on padding; None is no padding.

    Returns:
        Tensors [atom, direction of polarization, direction of displacement], e.
        Published label files often contain the transpose. Zero on padding.

    Raises:
        ValueError: `charges` is not a function, shapes do not fit, the cell is
            singular, or `eps_inf` is not positive.

    References:
        Zhong et al., arXiv:2504.05169.
    """
    check_permittivity(eps_inf)
    check_positions(positions)
    if not callable(charges):
        raise ValueError(
            "`charges` is a function of positions and cell, got a "
            f"{type(charges).__name__}: those of fixed charges are "
            "`ChargeSystem(charges, positions, cell).born_charges()`."
        )
    mask = jnp.ones(len(positions), bool) if mask is None else mask
    positions = jnp.where(mask[:, None], positions, 0.0)

    def moments(positions):
        result = charges(positions, cell)
        values, dipoles = result if isinstance(result, tuple) else (result, None)
        _check_shapes(len(positions), values, dipoles)
        if dipoles is not None:
            dipoles = jnp.where(mask[:, None], dipoles, 0.0)
        return jnp.where(mask, values, 0.0), dipoles

    (values, dipoles), pullback = jax.vjp(moments, positions)
    response = _response(pullback, positions, cell, dipoles is not None)
    total = values[:, None, None] * jnp.eye(3, dtype=positions.dtype) + response
    return jnp.where(mask[:, None, None], jnp.sqrt(eps_inf) * total, 0.0)


def _check_shapes(
    atoms: int, charges: Float[Array, "..."], dipoles: Float[Array, "..."] | None
) -> None:
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
    lattice, phases = lattice_phases(positions, cell)
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
