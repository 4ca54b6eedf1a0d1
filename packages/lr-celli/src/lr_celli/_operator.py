"""The product of the Coulomb matrix with charges, without forming the matrix."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from ._cell import dual_and_volume, squared_lengths
from ._coulomb import check_positive, check_shapes, check_widths
from ._gaussian import COULOMB_CONSTANT, gaussian_interaction
from ._lattice import concrete_positions, within_strain
from ._particle_mesh import ParticleMesh
from ._plane_waves import plane_waves
from ._spline import influence_function, mesh_potential, spline


class CoulombOperator(eqx.Module):
    r"""The product of the periodic Coulomb matrix with charges, in eV/e.

    Calling it with charges (e) gives the potential at every atom, including that of its
    own Gaussian, as `coulomb_matrix(...) @ charges` does.

    Attributes:
        pair_terms: interaction of neighbors minus that of smeared Gaussians, 1/Å.
        neighbors: indices of the neighbors of each atom.
        self_terms: the same difference for each atom with itself, 1/Å.
        widths: standard deviations of the charge densities, Å.
        background: $2\pi/V$, 1/Å³.
        smearing: the common width of the smeared Gaussians, Å.
        mesh_points: near each atom, per axis; None without a mesh.
        spline_weights: of the mesh points; None without a mesh.
        kernel: influence function of the mesh or, without a mesh, the Fourier transform
            of the interaction at the wave vectors, 1/Å.
        plane_waves: cosines and sines at the atoms, for the wave vectors of the
            preconditioner or, without a mesh, for all wave vectors.
        low_squared: squared wave vectors of the preconditioner, 1/Å².
        low_valid: false on padding of the wave vectors.
        mask: false on padding.
        mesh: number of points along each lattice vector, or None.
    """

    pair_terms: Float[Array, "atoms neighbors"]
    neighbors: Int[Array, "atoms neighbors"]
    self_terms: Float[Array, " atoms"]
    widths: Float[Array, " atoms"]
    background: Float[Array, ""]
    mesh_points: Int[Array, "atoms 3 points"] | None
    spline_weights: Float[Array, "atoms 3 points"] | None
    kernel: Float[Array, "x y half"] | Float[Array, " vectors"]
    plane_waves: Float[Array, "atoms waves"]
    low_squared: Float[Array, " low"]
    low_valid: Bool[Array, " low"]
    mask: Bool[Array, " atoms"]
    smearing: float = eqx.field(static=True)
    mesh: tuple[int, int, int] | None = eqx.field(static=True)

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """The potential at the atoms, eV/e; zero on padding.

        Args:
            charges: e; ignored on padding.
        """
        q = jnp.where(self.mask, charges, 0.0)
        from_pairs = jnp.sum(self.pair_terms * q[self.neighbors], axis=1)
        potential = self.self_terms * q + from_pairs
        variance = self.widths**2 - self.smearing**2
        total, second_moment = jnp.sum(q), jnp.vdot(variance, q)
        potential = potential + self.background * (variance * total + second_moment)
        if self.mesh is None or self.mesh_points is None or self.spline_weights is None:
            amplitudes = jnp.tile(self.kernel, 2) * jnp.matmul(
                self.plane_waves.T, q, precision="highest"
            )
            smeared = jnp.matmul(self.plane_waves, amplitudes, precision="highest")
        else:
            smeared = mesh_potential(
                q, self.mesh_points, self.spline_weights, self.kernel, self.mesh
            )
        return jnp.where(self.mask, COULOMB_CONSTANT * (potential + smeared), 0.0)

    def preconditioner(self, hardness: Float[Array, " atoms"]):
        r"""Approximate inverse of the operator plus a diagonal matrix of the hardness.

        Inverts the approximation $D + F F^T$ by the Woodbury identity, with $D$
        diagonal and $F$ the plane waves of longest wavelength. It is positive definite
        for every structure, also porous ones.

        Args:
            hardness: eV/e².

        Returns:
            A symmetric linear function of vectors `[atoms]`.
        """
        weight = 4 * COULOMB_CONSTANT * self.background / self.low_squared
        amplitude = jnp.where(self.low_valid, jnp.sqrt(weight), 0.0)
        damping = jnp.exp(-0.5 * self.widths[:, None] ** 2 * self.low_squared)
        amplitude = amplitude * damping
        count, vectors = self.low_squared.shape[0], self.plane_waves.shape[1] // 2
        cosines = self.plane_waves[:, :count]
        sines = self.plane_waves[:, vectors:][:, :count]
        features = jnp.concatenate([amplitude * cosines, amplitude * sines], axis=1)
        features = jnp.where(self.mask[:, None], features, 0.0)
        self_energy = COULOMB_CONSTANT / (self.widths * math.sqrt(math.pi))
        diagonal = jnp.maximum(self_energy - jnp.sum(features**2, axis=1), 0.0)
        diagonal = hardness + diagonal
        inverse = jnp.where(self.mask, 1 / diagonal, 1.0)
        scaled = inverse[:, None] * features
        inner = jnp.eye(2 * count, dtype=self_energy.dtype) + features.T @ scaled
        factor = jsl.cho_factor(inner, lower=True)
        return lambda v: inverse * v - scaled @ jsl.cho_solve(factor, scaled.T @ v)


def coulomb_operator(
    widths: Float[Array, " atoms"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"] | None = None,
    *,
    plan: ParticleMesh | None = None,
    mask: Bool[Array, " atoms"] | None = None,
) -> CoulombOperator:
    r"""The periodic Coulomb matrix of `coulomb_matrix` as an operator.

    The interaction of Gaussians of one common width $s$ is summed on a mesh (or over
    all wave vectors). The difference $\operatorname{erf}(r/(\sqrt2\gamma_{ij}))/r -
    \operatorname{erf}(r/2s)/r$ is computed once for neighbors. Memory grows linearly
    with the number of atoms.

    Args:
        widths: standard deviations of the charge densities, Å, at most
            `plan.width_max`.
        positions: Å, wrapped or not.
        cell: rows are lattice vectors, Å. There is no operator for open boundaries.
        plan: of one structure, see `ParticleMesh.for_structures`. None derives it from
            the other arguments, which must not be traced then. In a trace, the result
            is NaN if the plan does not cover positions, cell or widths.
        mask: false on padding; None means no padding.

    Returns:
        A callable that maps charges to potentials, differentiable with respect to all
        arguments.

    Raises:
        ValueError: shapes are inconsistent, a width is not positive, there is no cell,
            or the plan is missing or, if nothing is traced, does not cover the
            structure.

    References:
        Essmann et al., J. Chem. Phys. 103, 8577 (1995), doi:10.1063/1.470117.
    """
    if cell is None:
        raise ValueError(
            "There is no Coulomb operator with open boundaries: give a `cell`, or use "
            "`coulomb_sums(widths, positions)`."
        )
    check_shapes(widths, positions, mask)
    if mask is None:
        mask = jnp.ones(positions.shape[0], bool)
    check_positive("width", widths, mask, "Å")
    plan = _checked_plan(widths, positions, cell, plan, mask)
    dtype = jnp.result_type(positions, widths)
    cell = jnp.asarray(cell, dtype)
    widths = jnp.where(mask, widths, min(1.0, plan.width_max)).astype(dtype)
    dual, volume = dual_and_volume(cell)
    # Padding is masked first, because gradients of the cell sum over all atoms.
    positions = jnp.where(mask[:, None], positions, 0.0).astype(dtype)
    coordinates = jnp.matmul(positions, dual.T, precision="highest")
    # Atoms may have been wrapped since the plan was made: use the images of the plan.
    planned = jnp.where(mask[:, None], plan.coordinates.astype(dtype), 0.0)
    wraps = jax.lax.stop_gradient(jnp.round(coordinates - planned))
    coordinates = coordinates - wraps
    covered = _is_covered(coordinates - planned, widths, cell, plan)
    self_interaction = gaussian_interaction(2 * widths**2)(jnp.zeros_like(widths))
    smeared = 1 / (plan.smearing * math.sqrt(math.pi))
    indices = plan.indices.astype(dtype)
    wrapped = coordinates - jax.lax.stop_gradient(jnp.round(coordinates))
    squared = squared_lengths(indices, dual, plan.valid)
    points, weights, kernel = None, None, _reciprocal_kernel(squared, volume, plan)
    if plan.mesh is not None:
        points, weights = spline(coordinates, plan.mesh)
        kernel = influence_function(dual, volume, plan.smearing, plan.mesh)
    # A factor, so that the gradients of uncovered structures are NaN too.
    validity = jnp.where(covered | ~jnp.any(mask), 1.0, jnp.nan).astype(dtype)
    return CoulombOperator(
        pair_terms=validity * _pair_terms(coordinates, widths, cell, plan),
        neighbors=plan.neighbors,
        self_terms=validity * (self_interaction - smeared),
        widths=widths,
        background=2 * math.pi / volume,
        mesh_points=points,
        spline_weights=weights,
        kernel=validity * kernel,
        plane_waves=plane_waves(wrapped, indices),
        low_squared=squared[: plan.num_preconditioner_vectors],
        low_valid=plan.valid[: plan.num_preconditioner_vectors],
        mask=mask,
        smearing=plan.smearing,
        mesh=plan.mesh,
    )


def _checked_plan(
    widths: Float[Array, " atoms"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array | np.ndarray, "3 3"],
    plan: ParticleMesh | None,
    mask: Bool[Array, " atoms"],
) -> ParticleMesh:
    """The plan, derived from arguments that are not traced if it is None.

    Raises ValueError if it does not cover a structure that is not traced.
    """
    concrete = lambda *arrays: not any(isinstance(x, Tracer) for x in arrays)
    if plan is None:
        if not concrete(widths, positions, cell, mask):
            raise ValueError(
                "Arguments are traced, so neighbors and the largest width are unknown: "
                "make a plan on the host with `ParticleMesh.for_structures(...)` or "
                "`layer.plan(...)` and pass it as `plan`."
            )
        largest = float(np.max(np.asarray(widths)[np.asarray(mask)], initial=1e-3))
        plan = ParticleMesh.for_structures(cell, positions, mask, width_max=largest)
    if not isinstance(plan, ParticleMesh):
        raise ValueError(
            f"`plan` of a Coulomb operator is a `ParticleMesh`, got a "
            f"{type(plan).__name__}: make one with `ParticleMesh.for_structures`."
        )
    if plan.neighbors.ndim != 2 or plan.neighbors.shape[0] != positions.shape[0]:
        raise ValueError(
            f"The plan has neighbors of shape {list(plan.neighbors.shape)}, there are "
            f"{positions.shape[0]} atoms: make one for this structure, and use "
            "`jax.vmap` over structures and plan together."
        )
    if concrete(widths, mask):
        check_widths(np.asarray(widths)[np.asarray(mask)], (0.0, plan.width_max))
    if concrete(plan.cell, plan.coordinates, positions, cell, mask) and not plan.covers(
        np.asarray(cell), concrete_positions(positions, mask), np.asarray(mask)
    ):
        raise ValueError(
            "The plan does not cover this structure: an atom moved by more than half "
            f"of its skin of {plan.skin:.3g} Å, or the cell is strained by more than "
            f"{plan.stretch - 1:.2g}. If `plan.covers(cell, positions, mask)` is "
            "false, make a new plan with `layer.plan(...)` or "
            "`ParticleMesh.for_structures(...)`."
        )
    return plan


def _reciprocal_kernel(
    squared: Float[Array, " vectors"], volume: Float[Array, ""], plan: ParticleMesh
) -> Float[Array, " vectors"]:
    """Fourier transform of the smeared interaction for k and -k, units of k_e, 1/Å."""
    kernel = 8 * math.pi / (volume * squared) * jnp.exp(-(plan.smearing**2) * squared)
    return jnp.where(plan.valid, kernel, 0.0)


def _pair_terms(
    coordinates: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    cell: Float[Array, "3 3"],
    plan: ParticleMesh,
) -> Float[Array, "atoms neighbors"]:
    """Interaction of neighbors minus that of smeared Gaussians, 1/Å."""
    shifts = plan.shifts.astype(cell.dtype)
    fractional = coordinates[plan.neighbors] - coordinates[:, None] + shifts
    separation = jnp.matmul(fractional, cell, precision="highest")
    squared = jnp.sum(separation**2, axis=-1)
    variance = widths[:, None] ** 2 + widths[plan.neighbors] ** 2
    smeared = jnp.full((), 2 * plan.smearing**2, squared.dtype)
    term = gaussian_interaction(variance)(squared)
    term = term - gaussian_interaction(smeared)(squared)
    is_self = jnp.arange(len(widths))[:, None] == plan.neighbors
    return jnp.where(is_self & ~jnp.any(plan.shifts, axis=-1), 0.0, term)


def _is_covered(
    displacements: Float[Array, "atoms 3"],
    widths: Float[Array, " atoms"],
    cell: Float[Array, "3 3"],
    plan: ParticleMesh,
) -> Bool[Array, ""]:
    """Whether the plan covers fractional displacements, widths and cell."""
    displacements, widths, cell = jax.lax.stop_gradient((displacements, widths, cell))
    squared = jnp.sum((displacements @ cell) ** 2, axis=-1)
    within_skin = jnp.all(squared <= (plan.skin / 2 + 2e-3) ** 2)
    narrow = jnp.all(widths <= plan.width_max * (1 + 1e-5))
    planned = plan.cell.astype(cell.dtype)
    return within_skin & narrow & within_strain(cell, planned, plan.stretch)
