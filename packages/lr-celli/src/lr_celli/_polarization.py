"""Equilibration of charges and induced dipoles."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Num

from ._coulomb import check_positive
from ._equilibration import constrained, without_mean
from ._sums import CoulombSums


def polarize(
    electronegativity: Float[Array, " atoms"],
    hardness: Float[Array, " atoms"],
    stiffness: Float[Array, " atoms"],
    coulomb: CoulombSums,
    total_charge: Num[Array, ""] | float,
    *,
    mask: Bool[Array, " atoms"] | None = None,
    field: Float[Array, "atoms 3"] | None = None,
) -> tuple[Float[Array, " atoms"], Float[Array, "atoms 3"]]:
    r"""The charges and dipoles of minimum energy at a given total charge.

    $$ \min_{q,\mu}\; \sum_i \Bigl(\chi_i q_i + \tfrac12 J_i q_i^2
       + \tfrac12 K_i |\mu_i|^2 - \mu_i\cdot F_i\Bigr) + \tfrac12
       \begin{pmatrix} q \\ \mu \end{pmatrix}^T M \begin{pmatrix} q \\ \mu \end{pmatrix}
       \quad \text{s.t.} \quad \sum_i q_i = Q $$

    with the matrix $M$ of interactions of Gaussian charges and dipoles. It is positive
    semidefinite, since the energy of a charge density is not negative: there is no
    polarization catastrophe, unlike with point dipoles. As in `equilibrate`, one
    Cholesky factorization gives the solution and its derivatives of every order.

    A dipole represents a shell of charge $-1$ e that is bound to its core by a spring
    of constant $K$. To first order in their displacement $d$, $\mu = -d$.

    Args:
        electronegativity: $\chi$, eV/e; adding a constant does not change the result.
        hardness: $J > 0$, eV/e².
        stiffness: $K > 0$, eV/(e Å)²: $k_e$ divided by the polarizability volume,
            without the contribution of the Gaussian's self-interaction.
        coulomb: $M$, from `coulomb_sums` of degree 1.
        total_charge: $Q$, e; not used if every atom is padding.
        mask: false on padding; None means no padding.
        field: external field $F$ at the atoms, eV/e/Å; its potential is to be included
            in the electronegativity. None means no field.

    Returns:
        The charges (e) and dipoles (e Å); exactly zero on padding.

    Raises:
        ValueError: shapes are inconsistent, a hardness or stiffness is not positive, or
            nothing is traced and there is no solution.

    References:
        Naserifar, Brooks, Goddard, Cvicek, J. Chem. Phys. 146, 124117 (2017),
        doi:10.1063/1.4978891.
    """
    atoms = electronegativity.shape[0]
    if coulomb.real_space.shape[0] != 4 * atoms:
        raise ValueError(
            f"`coulomb` has {coulomb.real_space.shape[0]} charges and dipole "
            f"components, {atoms} atoms have {4 * atoms}: make it with "
            "`coulomb_sums(..., degree=1)`."
        )
    if mask is None:
        mask = jnp.ones(atoms, bool)
    check_positive("hardness", hardness, mask, "eV/e²")
    check_positive("stiffness", stiffness, mask, "eV/(e Å)²")
    if not isinstance(total_charge, Tracer) and not np.isfinite(float(total_charge)):
        raise ValueError(
            f"`total_charge` is a finite number of e, got {total_charge}; neutral is 0."
        )
    chi = without_mean(electronegativity, mask)
    dipole_term = jnp.zeros((atoms, 3), chi.dtype) if field is None else -field
    solution = constrained(
        jnp.concatenate([chi, jnp.where(mask[:, None], dipole_term, 0.0).T.ravel()]),
        jnp.concatenate([hardness, jnp.tile(stiffness, 3)]),
        coulomb,
        total_charge,
        jnp.arange(4 * atoms) < atoms,
        jnp.tile(mask, 4),
    )
    if not isinstance(solution, Tracer) and not np.isfinite(np.asarray(solution)).all():
        raise ValueError(
            "The solve for charges and dipoles failed: the matrix is not positive "
            "definite: raise hardness and stiffness or the accuracy of the Coulomb "
            "sum, and look for NaN in the input."
        )
    return solution[:atoms], solution[atoms:].reshape(3, atoms).T
