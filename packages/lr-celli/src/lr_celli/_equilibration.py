"""The charges that equalise the electronegativity of all atoms."""

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
    mask: Bool[Array, " atoms"] | None = None,
    *,
    tolerance: float | None = None,
) -> Float[Array, " atoms"]:
    r"""The charges of least energy at a given total charge.

    $$ \min_q \; \chi^T q + \tfrac{1}{2} q^T (A + \operatorname{diag} J) q
       \quad \text{s.t.} \quad \sum_i q_i = Q $$

    The matrix is positive definite, so one Cholesky factor serves both right-hand
    sides, $(A + J) x = \chi$ and $(A + J) y = 1$, and
    $q = -x + y\,(Q + \sum x)/\sum y$. Derivatives of every order, forward and reverse,
    are further solves with the same factor and products with the matrix, which are
    cheapest by the sums of `coulomb_sums`. An operator is not factorised: conjugate
    gradients run among the charges of the right sum, and so do the derivatives; if they
    do not converge the result is NaN.

    Args:
        electronegativity: $\chi$, eV/e; a constant added to it changes nothing.
        hardness: $J > 0$, eV/e².
        coulomb: $A$, eV/e², from `coulomb_matrix`, `coulomb_sums` or
            `coulomb_operator`.
        total_charge: $Q$, e; not used if every atom is padding.
        mask: false on padding; of an operator its own if absent.
        tolerance: residual of the conjugate gradients relative to the right-hand side;
            by default 1e-10 in float64, 1e-6 in float32.

    Returns:
        e; exactly zero on padding.

    Raises:
        ValueError: shapes do not fit, a hardness is not positive, the total charge is
            not finite, or nothing is traced and there is no solution.

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
        cause = "met a matrix that is not positive definite with this hardness"
    if not isinstance(charges, Tracer) and not np.isfinite(np.asarray(charges)).all():
        raise ValueError(
            f"The solve for the charges {cause}: raise the hardness or the accuracy of "
            "the Coulomb sum, and look for NaN in the input."
        )
    return charges


def without_mean(
    electronegativity: Float[Array, " atoms"], mask: Bool[Array, " atoms"]
) -> Float[Array, " atoms"]:
    """A constant moves no charge; without it nothing large cancels."""
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
    """The charges and their chemical potential solve the bordered system.

    Args:
        chi: the linear term.
        hardness: the diagonal term.
        coulomb: the quadratic term.
        total_charge: e.
        counted: which sum to the total charge.
        mask: false on padding.
    """
    hardness = jnp.where(mask, hardness, 1.0).astype(chi.dtype)
    ones = (counted & mask).astype(chi.dtype)
    potential, matrix = _inert_on_padding(coulomb, mask)
    # The factor only ever solves; derivatives go through the products.
    full = jax.lax.stop_gradient(matrix + jnp.diag(hardness))
    factor = jsl.cho_factor(full, lower=True)
    uniform = jnp.where(mask, jsl.cho_solve(factor, ones), 0.0)
    capacity = jnp.where(jnp.any(mask), jnp.vdot(ones, uniform), 1.0)

    def bordered(unknown):
        charges, level = unknown[:-1], unknown[-1]
        image = potential(charges) + hardness * charges + ones * level
        return jnp.append(image, ones @ charges)

    def solve(_, sides):
        free = jsl.cho_solve(factor, sides[:-1])
        level = (jnp.vdot(ones, free) - sides[-1]) / capacity
        return jnp.append(free - uniform * level, level)

    sides = jnp.append(-chi, jnp.asarray(total_charge, chi.dtype))
    solution = jax.lax.custom_linear_solve(bordered, sides, solve, symmetric=True)
    return jnp.where(mask, solution[:-1], 0.0)


def _inert_on_padding(
    coulomb: Float[Array, "charges charges"] | CoulombSums,
    mask: Bool[Array, " charges"],
) -> tuple[Callable[[Array], Array], Float[Array, "charges charges"]]:
    """The product with charges and the matrix, both zero where atoms are masked."""
    live = mask[:, None] & mask[None, :]
    if not isinstance(coulomb, CoulombSums):
        matrix = jnp.where(live, coulomb, 0.0)
        return lambda v: jnp.matmul(matrix, v, precision="highest"), matrix
    product = lambda v: jnp.where(mask, coulomb(jnp.where(mask, v, 0.0)), 0.0)
    return product, jnp.where(live, coulomb.matrix(), 0.0)


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
        inside = without_mean(v, mask)
        image = without_mean(operator(inside) + hardness * inside, mask)
        # The identity on what is left makes it invertible.
        return image + (v - inside)

    frozen = jax.lax.stop_gradient((operator, hardness))
    inverse = frozen[0].preconditioner(frozen[1])
    uniform = jnp.where(mask, inverse(ones), 0.0)
    capacity = jnp.where(jnp.any(mask), jnp.sum(uniform), 1.0)

    def precondition(v):
        free = jnp.where(mask, inverse(v), 0.0)
        return free - uniform * (jnp.sum(free) / capacity)

    start = ones * (total_charge / count)
    side = -without_mean(chi + operator(start) + hardness * start, mask)
    solution = jax.lax.custom_linear_solve(
        product,
        side,
        lambda product, v: (
            conjugate_gradients(
                product, without_mean(v, mask), precondition, tolerance=tolerance
            )[0]
            + (v - without_mean(v, mask))
        ),
        symmetric=True,
    )
    return start + without_mean(solution, mask)


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
        expected["coulomb.near"] = (coulomb.near, (atoms, atoms))
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
