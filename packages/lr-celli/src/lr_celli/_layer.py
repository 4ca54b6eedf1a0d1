"""The long-range layer: equilibrated charges, their energy, and a feature update."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ._embedding import ChargeEmbedding
from ._equilibration import equilibrate
from ._ewald import Ewald, check_bounds
from ._gaussian import COULOMB_CONSTANT
from ._inputs import check_inputs, check_settings
from ._lattice import check_axes
from ._method import coulomb_sums_or_operator, make_plan
from ._particle_mesh import ParticleMesh
from ._perceptron import Perceptron
from ._radii import NUM_ELEMENTS, check_species, covalent_radii

# eV/e². The minimum keeps the matrix positive definite if Gaussians are wide.
_MIN_HARDNESS = 0.1
_INITIAL_HARDNESS = 14.4


class ChargeEquilibration(eqx.Module):
    r"""Charge equilibration (CELLI): charges, their energy and a feature update.

    The charges minimize, at a given total charge,

    $$ E(q) = \sum_i \Bigl(\chi_i q_i + \tfrac12 J_i q_i^2\Bigr) + E_{el}(q) $$

    with the electronegativity $\chi_i$ (eV/e) predicted from the scalars, a hardness
    $J_z = 0.1 + \operatorname{softplus}(\eta_z)$ (eV/e²) and a width
    $\sigma_z = R_z \operatorname{softplus}(\rho_z)$ (Å) of a Gaussian charge for each
    element, initialized to 14.4 eV/e² and the covalent radius $R_z$. $J$ does not
    include the self-interaction of the Gaussian, $k_e/(\sigma\sqrt\pi)$. The charges
    can be trained on reference charges.

    The energy is $E_{el}$ (`energy="coulomb"`, as published; its gradient with respect
    to the widths is stopped) or $E(q)$ (`energy="total"`).

    Attributes:
        electronegativity_readout: predicts $\chi$ from the scalars. It has no biases,
            since adding a constant to $\chi$ does not change the charges, and is not
            initialized to zero.
        raw_hardness: $\eta$ by atomic number.
        raw_width: $\rho$ by atomic number.
        hardness_readout: predicts a contribution of the environment to $\eta$, or None.
        embedding: maps charges to an update of the scalars.
        degree: highest degree of the input features: 0, scalars.
        energy, solver, scale, width_bounds, tolerance: arguments of the constructor.

    References:
        Fuchs, Sanocki, Zavadlav, arXiv:2501.19179.
    """

    electronegativity_readout: Perceptron
    raw_hardness: Float[Array, " elements"]
    raw_width: Float[Array, " elements"]
    hardness_readout: Perceptron | None
    embedding: ChargeEmbedding
    degree: int = eqx.field(static=True)
    energy: str = eqx.field(static=True)
    solver: str = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    width_bounds: tuple[float, float] = eqx.field(static=True)
    tolerance: float | None = eqx.field(static=True)

    def __init__(
        self,
        channels: int,
        *,
        hidden: Sequence[int] = (64, 64),
        energy: str = "coulomb",
        solver: str = "auto",
        environment_hardness: bool = False,
        scale: float = 5.0,
        width_bounds: Sequence[float] = (0.1, 3.0),
        tolerance: float | None = None,
        key: PRNGKeyArray,
    ):
        """Draws the weights.

        Args:
            channels: number of scalars per atom.
            hidden: sizes of the hidden layers of the electronegativity readout; an
                empty tuple makes it linear.
            energy: `"coulomb"` or `"total"`.
            solver: `"dense"` factorizes the matrix, `"iterative"` does not form it;
                `"auto"` chooses the faster one for the number of slots. Open boundaries
                are always dense.
            environment_hardness: whether the hardness depends on the scalars.
            scale: typical electronegativity at initialization, eV/e.
            width_bounds: smallest and largest width of a Gaussian charge, Å. The cost
                of the iterative solver grows with the third power of the largest.
            tolerance: error of the Coulomb sum, see `Ewald.for_structures`; None is
                1e-8 if JAX runs in float64, else 1e-6, and 1e-6 if iterative.
            key: seed of the weights.

        Raises:
            ValueError: an argument is out of range or none of the listed values.
        """
        check_settings(channels, energy, solver)
        low, high = map(float, width_bounds)
        check_bounds((low, high))
        chi_key, hardness_key, embedding_key = jr.split(key, 3)
        self.electronegativity_readout = Perceptron((channels, *hidden, 1), key=chi_key)
        hardness = _INITIAL_HARDNESS - _MIN_HARDNESS
        self.raw_hardness = jnp.full(NUM_ELEMENTS, math.log(math.expm1(hardness)))
        self.raw_width = jnp.full(NUM_ELEMENTS, math.log(math.expm1(1.0)))
        self.hardness_readout = None
        if environment_hardness:
            readout = Perceptron((channels, *hidden, 1), key=hardness_key)
            self.hardness_readout = readout.with_zero_output()
        self.embedding = ChargeEmbedding(channels, key=embedding_key)
        self.degree = 0
        self.energy = energy
        self.solver = solver
        self.scale = float(scale)
        self.width_bounds = low, high
        self.tolerance = None if tolerance is None else float(tolerance)

    def arguments(self) -> dict[str, Any]:
        """The arguments of the constructor but `key`, as values for JSON."""
        return {
            "channels": self.channels,
            "hidden": list(self.electronegativity_readout.sizes[1:-1]),
            "energy": self.energy,
            "solver": self.solver,
            "environment_hardness": self.hardness_readout is not None,
            "scale": self.scale,
            "width_bounds": list(self.width_bounds),
            "tolerance": self.tolerance,
        }

    def __call__(
        self,
        features: Float[Array, "atoms channels"],
        positions: Float[Array, "atoms 3"],
        cell: Float[Array, "3 3"] | None,
        mask: Bool[Array, " atoms"],
        *,
        species: Int[Array, " atoms"],
        total_charge: Num[Array, ""],
        plan: Ewald | ParticleMesh | None = None,
        **_: object,
    ) -> tuple[
        Float[Array, "atoms channels"], Float[Array, " atoms"], Float[Array, " atoms"]
    ]:
        """Computes an update of the scalars, and energy and charge of each atom.

        Args:
            features: scalars.
            positions: Å.
            cell: rows are lattice vectors, Å; None means open boundaries.
            mask: false on padding.
            species: atomic numbers.
            total_charge: sum of the charges, e.
            plan: from the method `plan`, or from `plan_for` and `jax.vmap`; None
                derives it from the cell, which must not be traced then.

        Returns:
            The update, energies (eV) and charges (e), exactly zero on padding.

        Raises:
            ValueError: shapes are inconsistent, the plan is missing, or nothing is
                traced and the plan does not cover the structure.
        """
        check_inputs(features, positions, mask, species, self.channels)
        if plan is None:
            known_mask = None if isinstance(mask, Tracer) else mask
            plan = self.plan(cell, positions, known_mask)
        features = jnp.where(mask[:, None], features, 0.0)
        chi = self.electronegativity(features)
        hardness, width = self.hardness(species, features), self.width(species)
        coulomb = coulomb_sums_or_operator(width, positions, cell, plan, mask)
        charges = equilibrate(chi, hardness, coulomb, total_charge, mask=mask)
        if self.energy == "coulomb":
            # XLA merges this forward pass with the one above; only derivatives differ.
            width = jax.lax.stop_gradient(width)
            coulomb = coulomb_sums_or_operator(width, positions, cell, plan, mask)
        potential = coulomb(charges) / 2
        if self.energy == "total":
            potential = potential + chi + hardness * charges / 2
        update = self.embedding(features, charges, species)
        update = jnp.where(mask[:, None], update, 0.0)
        return update, jnp.where(mask, charges * potential, 0.0), charges

    @property
    def channels(self) -> int:
        """Number of scalars per atom."""
        return self.electronegativity_readout.sizes[0]

    def check_elements(self, numbers: Int[Array | np.ndarray, " elements"]) -> None:
        """Raises ValueError for atomic numbers without a covalent radius."""
        check_species(np.asarray(numbers))

    def electronegativity(
        self, features: Float[Array, "atoms channels"]
    ) -> Float[Array, " atoms"]:
        """The electronegativity of each atom, predicted from the scalars, eV/e."""
        return self.scale * self.electronegativity_readout(features)[:, 0]

    def hardness(
        self,
        species: Int[Array, " atoms"],
        features: Float[Array, "atoms channels"] | None = None,
    ) -> Float[Array, " atoms"]:
        """The hardness of each atom without the self-interaction, eV/e².

        Args:
            species: atomic numbers.
            features: scalars; may be None unless the hardness depends on the
                environment.
        """
        raw = self.raw_hardness[species]
        if self.hardness_readout is not None:
            if features is None:
                raise ValueError(
                    "This layer's hardness depends on the environment: pass `features`."
                )
            raw = raw.astype(features.dtype) + self.hardness_readout(features)[:, 0]
        return _MIN_HARDNESS + jax.nn.softplus(raw)

    def width(self, species: Int[Array, " atoms"]) -> Float[Array, " atoms"]:
        """The width of the Gaussian charge of each atom, Å.

        Args:
            species: atomic numbers up to 96. Larger ones have no covalent radius and
                raise ValueError or, in a trace, give NaN.
        """
        radii = covalent_radii(species, self.raw_width.dtype)
        width = radii * jax.nn.softplus(self.raw_width[species])
        return jnp.clip(width, *self.width_bounds)

    def full_hardness(
        self,
        species: Int[Array, " atoms"],
        features: Float[Array, "atoms channels"] | None = None,
    ) -> Float[Array, " atoms"]:
        r"""The hardness with the self-interaction, $J + k_e/(\sigma\sqrt\pi)$, eV/e².

        Arguments as in `hardness`.
        """
        self_interaction = COULOMB_CONSTANT / (self.width(species) * math.sqrt(math.pi))
        return self.hardness(species, features) + self_interaction

    def plan_for(
        self,
        cells: Float[Array | np.ndarray, "graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "graphs slots 3"],
        mask: Bool[Array | np.ndarray, "graphs slots"] | None = None,
        *,
        margin: float = 1e-3,
    ) -> Ewald | ParticleMesh | None:
        """Makes the plan of the lattice sums for a batch, on the host.

        Args:
            cells: one per graph, Å; cells of graphs without atoms are ignored. None
                means open boundaries.
            positions: Å.
            mask: false on padding; None means no padding.
            margin: relative strain of the cells that the plan covers.

        Returns:
            A plan with a leading batch axis, for `jax.vmap`; None without cells, so
            that a loop checks `plan is None or plan.covers(...)`.
        """
        check_axes(positions, batch=True)
        return self._plan(cells, positions, mask, margin)

    def _plan(self, cells, positions, mask, margin) -> Ewald | ParticleMesh | None:
        return make_plan(
            cells,
            positions,
            mask,
            solver=self.solver,
            width_bounds=self.width_bounds,
            tolerance=self.tolerance,
            margin=margin,
        )

    def plan(
        self,
        cell: Float[Array | np.ndarray, "3 3"] | None,
        positions: Float[Array | np.ndarray, "atoms 3"],
        mask: Bool[Array | np.ndarray, " atoms"] | None = None,
        *,
        margin: float = 1e-3,
    ) -> Ewald | ParticleMesh | None:
        """Makes the plan of one structure, on the host; arguments as in `plan_for`."""
        check_axes(positions, batch=False)
        return self._plan(cell, positions, mask, margin)
