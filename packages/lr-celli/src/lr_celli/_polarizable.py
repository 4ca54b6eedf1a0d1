"""The long-range layer whose atoms carry induced dipoles beside their charges."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from ._coulomb import coulomb_sums
from ._ewald import Ewald
from ._gaussian import COULOMB_CONSTANT
from ._inputs import check_inputs
from ._layer import ChargeEquilibration
from ._polarization import polarize
from ._radii import COVALENT_RADII, ELEMENTS
from ._sums import CoulombSums

# A fresh atom's polarisability in cubes of its covalent radius; with what its Gaussian
# takes off, 6 sqrt(pi) widths cubed in series, it is near three of them.
_FIRST_POLARIZABILITY = 4.0


class PolarizableChargeEquilibration(eqx.Module):
    r"""Charges and induced dipoles that equilibrate together (PQEq, linearised).

    Every atom is a core and a shell of charge $-1$ e on a spring, both Gaussians of one
    width, to first order in their distance: a charge and a dipole. They minimise

    $$ E(q, \mu) = \sum_i \Bigl(\chi_i q_i + \tfrac12 J_i q_i^2
       + \frac{k_e}{2\alpha_i} |\mu_i|^2 \Bigr) + E_{el}(q, \mu) $$

    at a given total charge, with a polarisability volume
    $\alpha_z = R_z^3 \operatorname{softplus}(\pi_z)$ (Å³) for each element, starting
    from four cubes of the covalent radius. The Gaussian's own stiffness adds to it, see
    `full_polarizability`. All else is that of `ChargeEquilibration`, which it holds;
    the solve is dense, with four unknowns an atom, so that it suits some hundred atoms.

    Attributes:
        equilibration: electronegativity, hardness, widths and the update.
        raw_polarizability: $\pi$ by atomic number.
        degree: of the features it takes: 0, scalars.

    References:
        Naserifar, Brooks, Goddard, Cvicek, J. Chem. Phys. 146, 124117 (2017),
        doi:10.1063/1.4978891.
    """

    equilibration: ChargeEquilibration
    raw_polarizability: Float[Array, " elements"]
    degree: int = eqx.field(static=True)

    def __init__(self, equilibration: ChargeEquilibration):
        """Adds dipoles to a layer.

        Args:
            equilibration: a layer with `solver="dense"`, the only one there is here.

        Raises:
            ValueError: its solver is another.
        """
        if equilibration.solver != "dense":
            raise ValueError(
                "Induced dipoles are solved for densely, got a layer with "
                f"`solver={equilibration.solver!r}`: make it with "
                '`ChargeEquilibration(..., solver="dense")`.'
            )
        self.equilibration = equilibration
        raw = math.log(math.expm1(_FIRST_POLARIZABILITY))
        self.raw_polarizability = jnp.full(ELEMENTS, raw)
        self.degree = 0

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
        """An update of the scalars, the energy and the charge of every atom.

        Args:
            features: scalars.
            positions: Å.
            cell: rows are lattice vectors, Å; None is open.
            mask: false on padding.
            species: atomic numbers.
            total_charge: e; the charges sum to it.
            plan: from `plan_for`; derived from the cell if absent and not traced.

        Returns:
            The update; eV per atom; e per atom. All are exactly zero on padding.
        """
        base = self.equilibration
        check_inputs(features, positions, mask, species, base.channels)
        features = jnp.where(mask[:, None], features, 0.0)
        width = base.width(species)
        coulomb = coulomb_sums(positions, width, cell, ewald=plan, mask=mask, degree=1)
        charges, dipoles = self._polarized(
            features, species, coulomb, total_charge, mask
        )
        unknowns = jnp.concatenate([charges, dipoles.T.ravel()])
        if base.energy == "coulomb":
            # The same numbers with fewer derivatives: a compiler finds them once.
            width = jax.lax.stop_gradient(width)
            coulomb = coulomb_sums(
                positions, width, cell, ewald=plan, mask=mask, degree=1
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
        """The charges and the induced dipoles.

        Args:
            features: scalars.
            positions: Å.
            cell: rows are lattice vectors, Å; None is open.
            mask: false on padding.
            species: atomic numbers.
            total_charge: e; the charges sum to it.
            plan: from `plan_for`.

        Returns:
            e and e Å; exactly zero on padding.
        """
        check_inputs(features, positions, mask, species, self.equilibration.channels)
        features = jnp.where(mask[:, None], features, 0.0)
        width = self.equilibration.width(species)
        coulomb = coulomb_sums(positions, width, cell, ewald=plan, mask=mask, degree=1)
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
            chi, hardness, self.stiffness(species), coulomb, total_charge, mask
        )

    def check_elements(self, numbers: Int[Array | np.ndarray, " elements"]) -> None:
        """Refuses elements that this layer has no widths for; called by models.

        Args:
            numbers: atomic numbers.

        Raises:
            ValueError: an element has no covalent radius; it is named.
        """
        self.equilibration.check_elements(numbers)

    def polarizability(self, species: Int[Array, " atoms"]) -> Float[Array, " atoms"]:
        """The polarisability volume of every atom's spring, Å³.

        Args:
            species: atomic numbers.
        """
        radii = jnp.asarray(COVALENT_RADII, self.raw_polarizability.dtype)[species]
        return radii**3 * jax.nn.softplus(self.raw_polarizability[species])

    def stiffness(self, species: Int[Array, " atoms"]) -> Float[Array, " atoms"]:
        """The constant of every atom's spring, eV/(e Å)².

        Args:
            species: atomic numbers.
        """
        return COULOMB_CONSTANT / self.polarizability(species)

    def full_polarizability(
        self, species: Int[Array, " atoms"]
    ) -> Float[Array, " atoms"]:
        r"""That of a lone atom, $1/(1/\alpha + 1/(6\sqrt\pi\sigma^3))$, Å³.

        Args:
            species: atomic numbers.
        """
        own = 6 * math.sqrt(math.pi) * self.equilibration.width(species) ** 3
        return 1 / (1 / self.polarizability(species) + 1 / own)

    def plan_for(
        self,
        cells: Float[Array | np.ndarray, "graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "graphs slots 3"],
        mask: Bool[Array | np.ndarray, "graphs slots"],
        *,
        margin: float = 1e-3,
    ) -> Ewald | None:
        """The lattice sums' terms for a batch, as `ChargeEquilibration.plan_for`.

        Args:
            cells: one per graph, Å.
            positions: Å.
            mask: false on padding.
            margin: relative strain of the cells that stays covered.
        """
        plan = self.equilibration.plan_for(cells, positions, mask, margin=margin)
        return plan if isinstance(plan, Ewald) else None
