"""The Coulomb matrix as an operator: applied to charges, never formed."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from ._coulomb import check_positive, refuse_widths
from ._gaussian import COULOMB_CONSTANT, gaussian_interaction
from ._lattice import dual_and_volume, squared_vectors, strained_within
from ._particle_mesh import ParticleMesh
from ._phases import waves
from ._spline import influence, mesh_potential, spline


class CoulombOperator(eqx.Module):
    r"""The product of the periodic Coulomb matrix with charges, in eV/e.

    Calling it with charges (e) gives the potential at every atom, its own Gaussian's
    included, as `coulomb_matrix(...) @ charges` does.

    Attributes:
        pairs: what widths add to the smeared interaction of neighbours, 1/Å.
        neighbours: of every atom.
        own: the same for an atom with itself, 1/Å.
        widths: Å.
        background: $2\pi/V$, 1/Å³.
        smear: the common width, Å.
        points: near every atom, an axis at a time; None without a mesh.
        weights: of the points.
        kernel: over the mesh's wave vectors, or over the wave vectors themselves.
        phases: cosines and sines of the wave vectors: few, or all without a mesh.
        low: squares of the shortest wave vectors, for the preconditioner, 1/Å².
        low_valid: false on padding.
        mask: false on padding.
        mesh: points along the lattice vectors, or None.
    """

    pairs: Float[Array, "atoms neighbours"]
    neighbours: Int[Array, "atoms neighbours"]
    own: Float[Array, " atoms"]
    widths: Float[Array, " atoms"]
    background: Float[Array, ""]
    points: Int[Array, "atoms 3 points"] | None
    weights: Float[Array, "atoms 3 points"] | None
    kernel: Float[Array, "x y half"] | Float[Array, " vectors"]
    phases: Float[Array, "atoms waves"]
    low: Float[Array, " low"]
    low_valid: Bool[Array, " low"]
    mask: Bool[Array, " atoms"]
    smear: float = eqx.field(static=True)
    mesh: tuple[int, int, int] | None = eqx.field(static=True)

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """The potential at the atoms, eV/e; zero on padding.

        Args:
            charges: e; those of padding are not looked at.
        """
        q = jnp.where(self.mask, charges, 0.0)
        potential = self.own * q + jnp.sum(self.pairs * q[self.neighbours], axis=1)
        variance = self.widths**2 - self.smear**2
        total, second = jnp.sum(q), jnp.vdot(variance, q)
        potential = potential + self.background * (variance * total + second)
        if self.mesh is None or self.points is None or self.weights is None:
            amplitudes = jnp.tile(self.kernel, 2) * jnp.matmul(
                self.phases.T, q, precision="highest"
            )
            smooth = jnp.matmul(self.phases, amplitudes, precision="highest")
        else:
            smooth = mesh_potential(
                q, self.points, self.weights, self.kernel, self.mesh
            )
        return jnp.where(self.mask, COULOMB_CONSTANT * (potential + smooth), 0.0)

    def preconditioner(self, hardness: Float[Array, " atoms"]):
        r"""An approximate inverse of the operator with the hardness on its diagonal.

        The diagonal and the longest waves, $D + F F^T$, inverted exactly by the
        Woodbury identity: positive definite for every structure, also with pores.

        Args:
            hardness: eV/e².

        Returns:
            A symmetric linear function of a vector over the atoms.
        """
        weight = 4 * COULOMB_CONSTANT * self.background / self.low
        amplitude = jnp.where(self.low_valid, jnp.sqrt(weight), 0.0)
        amplitude = amplitude * jnp.exp(-0.5 * self.widths[:, None] ** 2 * self.low)
        count, vectors = self.low.shape[0], self.phases.shape[1] // 2
        cosines, sines = self.phases[:, :count], self.phases[:, vectors:][:, :count]
        features = jnp.concatenate([amplitude * cosines, amplitude * sines], axis=1)
        features = jnp.where(self.mask[:, None], features, 0.0)
        own = COULOMB_CONSTANT / (self.widths * math.sqrt(math.pi))
        diagonal = hardness + jnp.maximum(own - jnp.sum(features**2, axis=1), 0.0)
        inverse = jnp.where(self.mask, 1 / diagonal, 1.0)
        scaled = inverse[:, None] * features
        inner = jnp.eye(2 * count, dtype=own.dtype) + features.T @ scaled
        factor = jsl.cho_factor(inner, lower=True)
        return lambda v: inverse * v - scaled @ jsl.cho_solve(factor, scaled.T @ v)


def coulomb_operator(
    positions: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    cell: Float[Array, "3 3"],
    plan: ParticleMesh,
    mask: Bool[Array, " atoms"] | None = None,
) -> CoulombOperator:
    r"""The periodic Coulomb matrix of `coulomb_matrix` as an operator.

    A common Gaussian of width $s$ interacts over a mesh (or over all wave vectors), and
    neighbours get $\operatorname{erf}(r/(\sqrt2\gamma_{ij}))/r -
    \operatorname{erf}(r/2s)/r$, computed once. Memory grows linearly with the atoms.

    Args:
        positions: Å, wrapped or not.
        widths: Å, at most `plan.width_max`.
        cell: rows are lattice vectors, Å.
        plan: pairs and mesh of one structure. Where positions, cell or widths are
            beyond what it was made for the operator gives NaN.
        mask: false on padding.

    Returns:
        A function of charges, differentiable with respect to all arguments.

    Raises:
        ValueError: shapes do not fit, a width is not positive, or the plan does not
            cover the structure and nothing is traced.

    References:
        Essmann et al., J. Chem. Phys. 103, 8577 (1995), doi:10.1063/1.470117.
    """
    if mask is None:
        mask = jnp.ones(positions.shape[0], bool)
    check_positive("width", widths, mask, "Å")
    _check_plan(plan, positions, cell, widths, mask)
    dtype = jnp.result_type(positions, widths)
    cell = cell.astype(dtype)
    widths = jnp.where(mask, widths, min(1.0, plan.width_max)).astype(dtype)
    dual, volume = dual_and_volume(cell)
    # Before the product: a gradient of the cell sums over padding too.
    positions = jnp.where(mask[:, None], positions, 0.0).astype(dtype)
    coordinates = jnp.matmul(positions, dual.T, precision="highest")
    # The images that the pairs were found for, wherever atoms were wrapped since.
    found = jnp.where(mask[:, None], plan.coordinates.astype(dtype), 0.0)
    whole = jax.lax.stop_gradient(jnp.round(coordinates - found))
    coordinates = coordinates - whole
    covered = _covered(coordinates - found, widths, cell, plan)
    itself = gaussian_interaction(2 * widths**2)(jnp.zeros_like(widths))
    smeared = 1 / (plan.smear * math.sqrt(math.pi))
    indices = plan.indices.astype(dtype)
    wrapped = coordinates - jax.lax.stop_gradient(jnp.round(coordinates))
    squared = squared_vectors(indices, dual, plan.valid)
    points, weights, kernel = None, None, _direct_kernel(squared, volume, plan)
    if plan.mesh is not None:
        points, weights = spline(coordinates, plan.mesh)
        kernel = influence(dual, volume, plan.smear, plan.mesh)
    # Multiplied, not selected: the gradients of what is not covered are NaN too.
    sound = jnp.where(covered | ~jnp.any(mask), 1.0, jnp.nan).astype(dtype)
    return CoulombOperator(
        pairs=sound * _pair_terms(coordinates, widths, cell, plan),
        neighbours=plan.neighbours,
        own=sound * (itself - smeared),
        widths=widths,
        background=2 * math.pi / volume,
        points=points,
        weights=weights,
        kernel=sound * kernel,
        phases=waves(wrapped, indices),
        low=squared[: plan.low],
        low_valid=plan.valid[: plan.low],
        mask=mask,
        smear=plan.smear,
        mesh=plan.mesh,
    )


def _check_plan(
    plan: ParticleMesh,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    widths: Float[Array, " atoms"],
    mask: Bool[Array, " atoms"],
) -> None:
    """Refuses what inside a trace is NaN, wherever values are known."""
    if plan.neighbours.ndim != 2 or plan.neighbours.shape[0] != positions.shape[0]:
        raise ValueError(
            f"The plan holds pairs of shape {list(plan.neighbours.shape)}, there are "
            f"{positions.shape[0]} atoms: make one for this structure, and use "
            "`jax.vmap` over structures and plan together."
        )
    known = lambda *arrays: not any(isinstance(x, Tracer) for x in arrays)
    if known(widths, mask):
        refuse_widths(np.asarray(widths)[np.asarray(mask)], (0.0, plan.width_max))
    if known(plan.cell, plan.coordinates, positions, cell, mask) and not plan.covers(
        np.asarray(cell), np.asarray(positions), np.asarray(mask)
    ):
        raise ValueError(
            "The plan does not cover this structure: an atom moved by more than half "
            f"of its skin of {plan.skin:.3g} Å, or the cell is strained by more than "
            f"{plan.stretch - 1:.2g}. Ask `plan.covers(cell, positions, mask)` and "
            "make a new plan with `layer.plan_for(...)` or "
            "`ParticleMesh.for_structures(...)` where it says no."
        )


def _direct_kernel(
    squared: Float[Array, " vectors"], volume: Float[Array, ""], plan: ParticleMesh
) -> Float[Array, " vectors"]:
    """Both of k and -k, in units of k_e, 1/Å."""
    kernel = 8 * math.pi / (volume * squared) * jnp.exp(-(plan.smear**2) * squared)
    return jnp.where(plan.valid, kernel, 0.0)


def _pair_terms(
    coordinates: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    cell: Float[Array, "3 3"],
    plan: ParticleMesh,
) -> Float[Array, "atoms neighbours"]:
    """What the true widths add to the smeared interaction of neighbours, 1/Å."""
    shifts = plan.shifts.astype(cell.dtype)
    apart = coordinates[plan.neighbours] - coordinates[:, None] + shifts
    separation = jnp.matmul(apart, cell, precision="highest")
    squared = jnp.sum(separation**2, axis=-1)
    variance = widths[:, None] ** 2 + widths[plan.neighbours] ** 2
    smeared = jnp.full((), 2 * plan.smear**2, squared.dtype)
    term = gaussian_interaction(variance)(squared)
    term = term - gaussian_interaction(smeared)(squared)
    itself = jnp.arange(len(widths))[:, None] == plan.neighbours
    return jnp.where(itself & ~jnp.any(plan.shifts, axis=-1), 0.0, term)


def _covered(
    moved: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    cell: Float[Array, "3 3"],
    plan: ParticleMesh,
) -> Bool[Array, ""]:
    moved, widths, cell = jax.lax.stop_gradient((moved, widths, cell))
    distance = jnp.sum((moved @ cell) ** 2, axis=-1)
    near = jnp.all(distance <= (plan.skin / 2 + 2e-3) ** 2)
    narrow = jnp.all(widths <= plan.width_max * (1 + 1e-5))
    planned = plan.cell.astype(cell.dtype)
    return near & narrow & strained_within(cell, planned, plan.stretch)
