"""Charge equilibration: the charges that minimize the energy at fixed total charge."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Num

from ._conjugate_gradients import conjugate_gradients
from ._coulomb import check_positive
from ._operator import CoulombOperator
from ._sums import CoulombSums


def equilibrate(
    electronegativity: Float[Array, " atoms"],
    hardness: Float[Array, " atoms"],
    coulomb: Float[Array, "atoms atoms"] | CoulombSums | CoulombOperator,
    total_charge: Num[Array, ""] | float,
    *,
    mask: Bool[Array, " atoms"] | None = None,
    tolerance: float | None = None,
) -> Float[Array, " atoms"]:
    r"""The charges of minimum energy at a given total charge.

    $$ \min_q \; \chi^T q + \tfrac{1}{2} q^T (A + \operatorname{diag} J) q
       \quad \text{s.t.} \quad \sum_i q_i = Q $$

    The matrix is positive definite. One Cholesky factorization solves
    $(A + J) x = \chi$ and $(A + J) y = 1$, and $q = -x + y\,(Q + \sum x)/\sum y$.
    Derivatives of every order, forward and reverse, are solves with the same factor and
    products with the matrix, which are cheapest with the sums of `coulomb_sums`. With
    an operator, the charges and their derivatives are computed by conjugate gradients
    in the subspace of the given total charge, without factorization; the result is NaN
    if they do not converge.

    Args:
        electronegativity: $\chi$, eV/e; adding a constant does not change the charges.
        hardness: $J > 0$, eV/e².
        coulomb: $A$, eV/e², from `coulomb_matrix`, `coulomb_sums` or
            `coulomb_operator`.
        total_charge: $Q$, e; not used if every atom is padding.
        mask: false on padding; None is the mask of an operator, else no padding.
        tolerance: residual of the conjugate gradients relative to the right-hand side;
            None is 1e-10 in float64, 1e-6 in float32.

    Returns:
        e; exactly zero on padding.

    Raises:
        ValueError: shapes are inconsistent, a hardness is not positive, the total
            charge is not finite, or nothing is traced and there is no solution.

    References:
        Rappé and Goddard, J. Phys. Chem. 95, 3358 (1991), doi:10.1021/j100161a070.
        Fuchs, Sanocki, Zavadlav, arXiv:2501.19179.
    """
    if mask is None and isinstance(coulomb, CoulombOperator):
        mask = coulomb.mask
    if mask is None:
        mask = jnp.ones(electronegativity.shape[0], bool)
    _check(electronegativity, hardness, coulomb, total_charge, mask)
    chi = without_mean(electronegativity, mask)
    if isinstance(coulomb, CoulombOperator):
        charges = _iterative(chi, hardness, coulomb, total_charge, mask, tolerance)
        cause = "did not converge, or the operator's plan does not cover the structure"
    else:
        charges = constrained(chi, hardness, coulomb, total_charge, mask, mask)
        cause = "failed: the matrix is not positive definite with this hardness"
    if not isinstance(charges, Tracer) and not np.isfinite(np.asarray(charges)).all():
        raise ValueError(
            f"The solve for the charges {cause}: raise the hardness or the accuracy of "
            "the Coulomb sum, and look for NaN in the input."
        )
    return charges


def without_mean(
    electronegativity: Float[Array, " atoms"], mask: Bool[Array, " atoms"]
) -> Float[Array, " atoms"]:
    """Subtracts the mean, which does not change the charges, to avoid cancellation."""
    count = jnp.maximum(jnp.sum(mask), 1).astype(electronegativity.dtype)
    chi = jnp.where(mask, electronegativity, 0.0)
    return jnp.where(mask, chi - jnp.sum(chi) / count, 0.0)


def constrained(
    chi: Float[Array, " charges"],
    hardness: Float[Array, " charges"],
    coulomb: Float[Array, "charges charges"] | CoulombSums,
    total_charge: Num[Array, ""] | float,
    counted: Bool[Array, " charges"],
    mask: Bool[Array, " charges"],
) -> Float[Array, " charges"]:
    """Solves the bordered system for the charges and the chemical potential.

    Args:
        chi: coefficients of the linear term.
        hardness: diagonal of the quadratic term.
        coulomb: Coulomb matrix or its sums.
        total_charge: e.
        counted: true for unknowns that sum to the total charge.
        mask: false on padding.
    """
    hardness = jnp.where(mask, hardness, 1.0).astype(chi.dtype)
    ones = (counted & mask).astype(chi.dtype)
    product, matrix = _masked(coulomb, mask)
    # Derivatives are taken of the products only, not of the factorization.
    full_matrix = jax.lax.stop_gradient(matrix + jnp.diag(hardness))
    factor = jsl.cho_factor(full_matrix, lower=True)
    response = jnp.where(mask, jsl.cho_solve(factor, ones), 0.0)
    capacitance = jnp.where(jnp.any(mask), jnp.vdot(ones, response), 1.0)

    def bordered(unknown):
        charges, multiplier = unknown[:-1], unknown[-1]
        image = product(charges) + hardness * charges + ones * multiplier
        return jnp.append(image, ones @ charges)

    def solve(_, rhs):
        unconstrained = jsl.cho_solve(factor, rhs[:-1])
        multiplier = (jnp.vdot(ones, unconstrained) - rhs[-1]) / capacitance
        return jnp.append(unconstrained - response * multiplier, multiplier)

    rhs = jnp.append(-chi, jnp.asarray(total_charge, chi.dtype))
    solution = jax.lax.custom_linear_solve(bordered, rhs, solve, symmetric=True)
    return jnp.where(mask, solution[:-1], 0.0)


def _masked(
    coulomb: Float[Array, "charges charges"] | CoulombSums,
    mask: Bool[Array, " charges"],
) -> tuple[Callable[[Array], Array], Float[Array, "charges charges"]]:
    """The product with charges and the matrix, both zero on padding."""
    both_real = mask[:, None] & mask[None, :]
    if not isinstance(coulomb, CoulombSums):
        matrix = jnp.where(both_real, coulomb, 0.0)
        return lambda v: jnp.matmul(matrix, v, precision="highest"), matrix
    product = lambda v: jnp.where(mask, coulomb(jnp.where(mask, v, 0.0)), 0.0)
    return product, jnp.where(both_real, coulomb.matrix(), 0.0)


def _iterative(
    chi: Float[Array, " atoms"],
    hardness: Float[Array, " atoms"],
    operator: CoulombOperator,
    total_charge: Num[Array, ""] | float,
    mask: Bool[Array, " atoms"],
    tolerance: float | None,
) -> Float[Array, " atoms"]:
    r"""$q = Q/N + p$ with $\sum p = 0$ and $P(A + J)p = -P(\chi + (A + J)Q/N)$."""
    if tolerance is None:
        tolerance = 1e-10 if chi.dtype == jnp.float64 else 1e-6
    hardness = jnp.where(mask, hardness, 1.0).astype(chi.dtype)
    count = jnp.maximum(jnp.sum(mask), 1).astype(chi.dtype)
    ones = mask.astype(chi.dtype)

    def product(v):
        projected = without_mean(v, mask)
        image = without_mean(operator(projected) + hardness * projected, mask)
        # The identity on the complement makes the product invertible.
        return image + (v - projected)

    constant_operator, constant_hardness = jax.lax.stop_gradient((operator, hardness))
    inverse = constant_operator.preconditioner(constant_hardness)
    response = jnp.where(mask, inverse(ones), 0.0)
    capacitance = jnp.where(jnp.any(mask), jnp.sum(response), 1.0)

    def preconditioner(v):
        unconstrained = jnp.where(mask, inverse(v), 0.0)
        return unconstrained - response * (jnp.sum(unconstrained) / capacitance)

    def solve(product, v):
        projected = without_mean(v, mask)
        solution, _ = conjugate_gradients(
            product, projected, preconditioner, tolerance=tolerance
        )
        return solution + (v - projected)

    uniform = ones * (total_charge / count)
    rhs = -without_mean(chi + operator(uniform) + hardness * uniform, mask)
    solution = jax.lax.custom_linear_solve(product, rhs, solve, symmetric=True)
    return uniform + without_mean(solution, mask)


def _check(
    electronegativity: Float[Array, "..."],
    hardness: Float[Array, "..."],
    coulomb: Float[Array, "..."] | CoulombSums | CoulombOperator,
    total_charge: Num[Array, ""] | float,
    mask: Bool[Array, "..."],
) -> None:
    atoms = electronegativity.shape[0]
    expected: dict[str, tuple[Array, tuple[int, ...]]] = {
        "electronegativity": (electronegativity, (atoms,)),
        "hardness": (hardness, (atoms,)),
        "mask": (mask, (atoms,)),
    }
    if isinstance(coulomb, CoulombOperator):
        expected["coulomb.mask"] = (coulomb.mask, (atoms,))
    elif isinstance(coulomb, CoulombSums):
        expected["coulomb.real_space"] = (coulomb.real_space, (atoms, atoms))
    else:
        expected["coulomb"] = (coulomb, (atoms, atoms))
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ValueError(
                f"`{name}` has shape {list(shape)}, got {list(array.shape)}; for a "
                "batch of structures use `jax.vmap`."
            )
    check_positive("hardness", hardness, mask, "eV/e²")
    if not isinstance(total_charge, Tracer) and not np.isfinite(float(total_charge)):
        raise ValueError(
            f"`total_charge` is a finite number of e, got {total_charge}; neutral is 0."
        )
