"""The long-range layer with equilibrated charges and induced dipoles."""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ._coulomb import coulomb_sums
from ._ewald import Ewald
from ._gaussian import COULOMB_CONSTANT
from ._inputs import check_inputs
from ._layer import ChargeEquilibration
from ._polarization import polarize
from ._radii import COVALENT_RADII, NUM_ELEMENTS
from ._sums import CoulombSums

# Initial polarizability volume in units of the cubed covalent radius. Including the
# self-interaction of the Gaussian, `full_polarizability` is near three cubes.
_INITIAL_POLARIZABILITY = 4.0


class PolarizableChargeEquilibration(eqx.Module):
    r"""Equilibration of charges and induced dipoles (linearized PQEq).

    Each atom has a core and a shell of charge $-1$ e that is bound to it by a spring.
    Both are Gaussians of one width. To first order in their displacement they are a
    charge and a dipole, which minimize

    $$ E(q, \mu) = \sum_i \Bigl(\chi_i q_i + \tfrac12 J_i q_i^2
       + \frac{k_e}{2\alpha_i} |\mu_i|^2 \Bigr) + E_{el}(q, \mu) $$

    at a given total charge, with a polarizability volume
    $\alpha_z = R_z^3 \operatorname{softplus}(\pi_z)$ (Å³) for each element, initialized
    to four cubes of the covalent radius. The self-interaction of the Gaussian adds to
    the stiffness, see `full_polarizability`. Electronegativity, hardness, widths and
    update are those of a `ChargeEquilibration`. The solve is dense with four unknowns
    per atom, which suits a few hundred atoms.

    Attributes:
        equilibration: layer with electronegativity, hardness, widths and update.
        raw_polarizability: $\pi$ by atomic number.
        degree: highest degree of the input features: 0, scalars.

    References:
        Naserifar, Brooks, Goddard, Cvicek, J. Chem. Phys. 146, 124117 (2017),
        doi:10.1063/1.4978891.
    """

    equilibration: ChargeEquilibration
    raw_polarizability: Float[Array, " elements"]
    degree: int = eqx.field(static=True)

    def __init__(self, equilibration: ChargeEquilibration):
        """Adds induced dipoles to a layer.

        Args:
            equilibration: a layer with `solver="dense"`.

        Raises:
            ValueError: the layer has another solver.
        """
        if equilibration.solver != "dense":
            raise ValueError(
                "Induced dipoles need a layer with a dense solver, got "
                f"`solver={equilibration.solver!r}`: make the layer with "
                '`ChargeEquilibration(..., solver="dense")`.'
            )
        self.equilibration = equilibration
        raw = math.log(math.expm1(_INITIAL_POLARIZABILITY))
        self.raw_polarizability = jnp.full(NUM_ELEMENTS, raw)
        self.degree = 0

    def arguments(self) -> dict[str, Any]:
        """The arguments of the underlying layer, see `from_arguments`."""
        return self.equilibration.arguments()

    @classmethod
    def from_arguments(
        cls, arguments: Mapping[str, Any], *, key: PRNGKeyArray
    ) -> "PolarizableChargeEquilibration":
        """A layer of the architecture that `arguments` describes.

        Args:
            arguments: result of the method `arguments`, also after JSON.
            key: seed of the weights.
        """
        return cls(ChargeEquilibration(**arguments, key=key))

    def __call__(
        self,
        features: Float[Array, "atoms channels"],
        positions: Float[Array, "atoms 3"],
        cell: Float[Array, "3 3"] | None,
        mask: Bool[Array, " atoms"],
        *,
        species: Int[Array, " atoms"],
        total_charge: Num[Array, ""],
        plan: Ewald | None = None,
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
        """
        base = self.equilibration
        check_inputs(features, positions, mask, species, base.channels)
        features = jnp.where(mask[:, None], features, 0.0)
        width = base.width(species)
        coulomb = coulomb_sums(width, positions, cell, plan=plan, mask=mask, degree=1)
        charges, dipoles = self._polarized(
            features, species, coulomb, total_charge, mask
        )
        unknowns = jnp.concatenate([charges, dipoles.T.ravel()])
        if base.energy == "coulomb":
            # XLA merges this forward pass with the one above; only derivatives differ.
            width = jax.lax.stop_gradient(width)
            coulomb = coulomb_sums(
                width, positions, cell, plan=plan, mask=mask, degree=1
            )
        energy = unknowns * coulomb(unknowns) / 2
        energy = jnp.sum(energy.reshape(4, -1), axis=0)
        if base.energy == "total":
            chi = base.electronegativity(features)
            hardness = base.hardness(species, features)
            energy += charges * (chi + hardness * charges / 2)
            energy += self.stiffness(species) * jnp.sum(dipoles**2, axis=1) / 2
        update = base.embedding(features, charges, species)
        update = jnp.where(mask[:, None], update, 0.0)
        return update, jnp.where(mask, energy, 0.0), charges

    def charges_and_dipoles(
        self,
        features: Float[Array, "atoms channels"],
        positions: Float[Array, "atoms 3"],
        cell: Float[Array, "3 3"] | None,
        mask: Bool[Array, " atoms"],
        *,
        species: Int[Array, " atoms"],
        total_charge: Num[Array, ""],
        plan: Ewald | None = None,
    ) -> tuple[Float[Array, " atoms"], Float[Array, "atoms 3"]]:
        """Computes the charges and the induced dipoles.

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
            Charges (e) and dipoles (e Å), exactly zero on padding.
        """
        check_inputs(features, positions, mask, species, self.equilibration.channels)
        features = jnp.where(mask[:, None], features, 0.0)
        width = self.equilibration.width(species)
        coulomb = coulomb_sums(width, positions, cell, plan=plan, mask=mask, degree=1)
        return self._polarized(features, species, coulomb, total_charge, mask)

    def _polarized(
        self,
        features: Float[Array, "atoms channels"],
        species: Int[Array, " atoms"],
        coulomb: CoulombSums,
        total_charge: Num[Array, ""],
        mask: Bool[Array, " atoms"],
    ) -> tuple[Float[Array, " atoms"], Float[Array, "atoms 3"]]:
        base = self.equilibration
        chi, hardness = (
            base.electronegativity(features),
            base.hardness(species, features),
        )
        return polarize(
            chi, hardness, self.stiffness(species), coulomb, total_charge, mask=mask
        )

    def check_elements(self, numbers: Int[Array | np.ndarray, " elements"]) -> None:
        """Raises ValueError for elements without a covalent radius.

        Args:
            numbers: atomic numbers.
        """
        self.equilibration.check_elements(numbers)

    def polarizability(self, species: Int[Array, " atoms"]) -> Float[Array, " atoms"]:
        """The polarizability volume of each atom, without the Gaussian's stiffness, Å³.

        Args:
            species: atomic numbers.
        """
        radii = jnp.asarray(COVALENT_RADII, self.raw_polarizability.dtype)[species]
        return radii**3 * jax.nn.softplus(self.raw_polarizability[species])

    def stiffness(self, species: Int[Array, " atoms"]) -> Float[Array, " atoms"]:
        """The spring constant of each atom, eV/(e Å)².

        Args:
            species: atomic numbers.
        """
        return COULOMB_CONSTANT / self.polarizability(species)

    def full_polarizability(
        self, species: Int[Array, " atoms"]
    ) -> Float[Array, " atoms"]:
        r"""The polarizability volume of each atom if isolated, Å³.

        It is $1/(1/\alpha + 1/(6\sqrt\pi\sigma^3))$, which includes the stiffness of
        the Gaussian.

        Args:
            species: atomic numbers.
        """
        gaussian = 6 * math.sqrt(math.pi) * self.equilibration.width(species) ** 3
        return 1 / (1 / self.polarizability(species) + 1 / gaussian)

    def plan_for(
        self,
        cells: Float[Array | np.ndarray, "graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "graphs slots 3"],
        mask: Bool[Array | np.ndarray, "graphs slots"] | None = None,
        *,
        margin: float = 1e-3,
    ) -> Ewald | None:
        """Makes the plan for a batch, see `ChargeEquilibration.plan_for`.

        Args:
            cells: one per graph, Å; None means open boundaries.
            positions: Å.
            mask: false on padding; None means no padding.
            margin: relative strain of the cells that the plan covers.

        Returns:
            A plan with a leading batch axis; None without cells.
        """
        plan = self.equilibration.plan_for(cells, positions, mask, margin=margin)
        return plan if isinstance(plan, Ewald) else None

    def plan(
        self,
        cell: Float[Array | np.ndarray, "3 3"] | None,
        positions: Float[Array | np.ndarray, "atoms 3"],
        mask: Bool[Array | np.ndarray, " atoms"] | None = None,
        *,
        margin: float = 1e-3,
    ) -> Ewald | None:
        """Makes the plan of one structure, on the host; arguments as in `plan_for`."""
        plan = self.equilibration.plan(cell, positions, mask, margin=margin)
        return plan if isinstance(plan, Ewald) else None
