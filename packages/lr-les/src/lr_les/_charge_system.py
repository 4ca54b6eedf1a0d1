"""Smeared charges and multipoles of one structure: energy, potential, response."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Complex, Float

from ._checks import check_permittivity, check_positive
from ._direct import direct_potential
from ._grid import KGrid
from ._kernels import AbstractKernel, Coulomb
from ._mesh import Mesh
from ._moments import polarization, quadrupole
from ._multipoles import Multipoles
from ._open import open_potential
from ._spreading import mesh_potential
from ._system_checks import check_moments, checked_plan, one_if_covered


class ChargeSystem(eqx.Module):
    r"""Smeared charges and multipoles of one structure, open or periodic.

    The methods return energies, potential and field, and linear responses; `energy` has
    the equations. Results have the channels of the charges.

    Attributes:
        moments: charges (e), dipoles (e Å) and quadrupoles (e Å²) of every atom with an
            axis of channels; zero on padding.
        positions: atomic positions, Å; zero on padding.
        cell: rows are lattice vectors, Å; None is open.
        plan: plan of the reciprocal sum; None in open boundaries, or if it could not be
            derived because the cell or `sigma` is traced.
        mask: false on padding.
        sigma: width of the interaction, see `energy`, Å.
        kernel: the interaction.
        has_channels: whether the charges were given with an axis of channels.
    """

    moments: Multipoles
    positions: Float[Array, "atoms 3"]
    cell: Float[Array, "3 3"] | None
    plan: KGrid | Mesh | None
    mask: Bool[Array, " atoms"]
    sigma: Float[Array, ""]
    kernel: AbstractKernel
    has_channels: bool = eqx.field(static=True)

    def __init__(
        self,
        charges: Float[Array, " atoms *charge_channels"] | Multipoles,
        positions: Float[Array, "atoms 3"],
        cell: Float[Array | np.ndarray, "3 3"] | None = None,
        *,
        plan: KGrid | Mesh | None = None,
        mask: Bool[Array, " atoms"] | None = None,
        sigma: float | Float[Array, ""] = 1.0,
        kernel: AbstractKernel | None = None,
        neutralize: bool = False,
    ):
        """Checks the arguments, masks them and converts them to one dtype.

        Args:
            charges: one charge per atom, or several channels, e; or `Multipoles` with
                dipoles and quadrupoles.
            positions: atomic positions, Å, wrapped into the cell or not.
            cell: rows are lattice vectors, Å, of either handedness; None is open.
            plan: plan of one structure, from `lattice_plan` or `layer.plan`. None
                derives it from the cell; required for energies and potentials if cell
                or `sigma` are traced.
            mask: false on padding, which neither acts nor receives; None is no padding.
            sigma: width of the interaction, Å, see `energy`.
            kernel: the interaction; None is `Coulomb()`.
            neutralize: first subtract the mean charge, in every channel.

        Raises:
            ValueError: shapes do not fit, `sigma` is not positive, the cell is
                singular, or the plan has a batch axis, does not cover the cell, is
                given without a cell, or was made for a larger width or a lower power
                of k.
        """
        moments = charges if isinstance(charges, Multipoles) else Multipoles(charges)
        check_moments(moments, positions, mask)
        if not isinstance(sigma, Tracer):
            check_positive("sigma", "width", float(sigma))
        kernel = Coulomb() if kernel is None else kernel
        if mask is None:
            mask = jnp.ones(positions.shape[0], bool)
        dtype = jnp.result_type(moments.charges, positions)
        self.has_channels = moments.charges.ndim == 2
        self.moments = moments.prepared(mask, dtype, neutralize=neutralize)
        power = kernel.power + 2 * self.moments.degree
        self.plan = checked_plan(plan, positions, cell, mask, sigma, power)
        self.positions = jnp.where(mask[:, None], positions, 0.0).astype(dtype)
        self.cell = None if cell is None else jnp.asarray(cell, dtype)
        self.mask = mask
        self.sigma = jnp.asarray(sigma, dtype)
        self.kernel = kernel

    def energies(self, *, remove_self: bool = True) -> Float[Array, " atoms"]:
        """Returns the energy per atom, eV; zero on padding.

        Args:
            remove_self: leave out the energy of the multipoles of each atom with
                themselves.

        Raises:
            ValueError: there is a cell but no plan.
        """
        potential = self._potential(remove_self=remove_self)
        return jnp.where(self.mask, 0.5 * self.moments.dot(potential), 0.0)

    def potential_and_field(
        self, *, remove_self: bool = True
    ) -> tuple[
        Float[Array, " atoms *charge_channels"],
        Float[Array, "atoms *charge_channels 3"],
    ]:
        r"""Returns electrostatic potential (V) and field (V/Å) at every atom.

        $$ \Phi_i = \frac{\partial E}{\partial q_i}, \qquad
           F_i = -\frac{\partial E}{\partial u_i} $$

        They are caused by the smeared charges and multipoles of the other atoms and, in
        a charged cell, by the background. Zero on padding.

        Args:
            remove_self: leave out the contribution of the atom itself.

        Raises:
            ValueError: there is a cell but no plan.
        """
        potential, field = self._potential_and_field(remove_self=remove_self)
        return self._with_channels(potential), self._with_channels(field)

    def induction(
        self,
        charge_response: Float[Array, " atoms"],
        polarizability: Float[Array, " atoms"],
    ) -> tuple[
        Float[Array, " atoms"],
        Float[Array, " atoms *charge_channels"],
        Float[Array, "atoms *charge_channels 3"],
    ]:
        r"""Linear response of charges and dipoles to the permanent multipoles.

        $$ E_i = -\tfrac12 \kappa_i \Phi_i^2 - \tfrac12 \alpha_i |F_i|^2, \qquad
           \Delta q_i = -\kappa_i \Phi_i, \quad \Delta u_i = \alpha_i F_i $$

        with potential and field of the multipoles of all other atoms, as from
        `potential_and_field`. The response is not iterated: induced charges and dipoles
        do not induce further ones. The energy is added to `energies`. The induced
        charges need not sum to zero. Every channel responds independently.

        Args:
            charge_response: $\kappa$ of every atom, e²/eV, not negative.
            polarizability: $\alpha$ of every atom, e² Å²/eV, not negative.

        Returns:
            The energy per atom, eV; the induced charges, e; the induced dipoles, e Å.
            Zero on padding.

        Raises:
            ValueError: a response is not one number per atom, or there is a cell but no
                plan.

        References:
            Cheng, npj Comput. Mater. 11, 80 (2025), doi:10.1038/s41524-025-01577-7.
        """
        responses = charge_response, polarizability
        names = "charge_response", "polarizability"
        for name, response in zip(names, responses, strict=True):
            if response.shape != self.mask.shape:
                raise ValueError(
                    f"`{name}` is one number per atom, shape {list(self.mask.shape)}, "
                    f"got {list(response.shape)}."
                )
        potential, field = self._potential_and_field(remove_self=True)
        kappa = jnp.where(self.mask, charge_response, 0.0).astype(potential.dtype)
        alpha = jnp.where(self.mask, polarizability, 0.0).astype(potential.dtype)
        charges, dipoles = -kappa[:, None] * potential, alpha[:, None, None] * field
        energies = jnp.sum(charges * potential, axis=1)
        energies = 0.5 * (energies - jnp.sum(dipoles * field, axis=(1, 2)))
        return energies, self._with_channels(charges), self._with_channels(dipoles)

    def polarization(
        self,
    ) -> Float[Array, "*charge_channels 3"] | Complex[Array, "*charge_channels 3"]:
        r"""Returns the dipole moment of a molecule or the phase form of a crystal, e Å.

        $$ P = \sum_i (q_i r_i + u_i) \quad \text{(open)}, \qquad
           P = \sum_i \Big( q_i \sum_a \frac{c_a}{2\pi i} e^{2\pi i f_{ia}} + u_i \Big)
           \quad \text{(periodic)} $$

        with lattice vectors $c_a$ and fractional coordinates $f$. Real in open
        boundaries, where the dipole moment of a charged molecule depends on the origin;
        complex in a cell. The phase form does not depend on how atoms are wrapped into
        the cell. Its value has no physical meaning; its derivatives do, after division
        by the phase factor of each atom, as in `lr_les.born_charges`.

        References:
            Zhong et al., arXiv:2504.05169.
        """
        result = polarization(self.moments, self.positions, self.cell)
        return result if self.has_channels else result[0]

    def quadrupole(self) -> Float[Array, "*charge_channels 3 3"]:
        r"""Returns the traceless second moment of a molecule, e Å².

        $$ Q = \sum_i (q_i r_i r_i + u_i r_i + r_i u_i + Q_i) - \text{trace} $$

        Tables often list 3/2 of it. It depends on the origin of the positions.

        Raises:
            ValueError: there is a cell.
        """
        if self.cell is not None:
            raise ValueError(
                "The second moment of a crystal is not defined: `quadrupole()` needs "
                "open boundaries, `cell=None`."
            )
        result = quadrupole(self.moments, self.positions)
        return result if self.has_channels else result[0]

    def born_charges(
        self, *, eps_inf: float | Float[Array, ""] = 1.0
    ) -> Float[Array, "atoms *charge_channels 3 3"]:
        r"""Returns the Born effective charges of fixed charges, e.

        $$ Z^*_i = \sqrt{\epsilon_\infty} q_i 1 $$

        `lr_les.born_charges` has the response of charges that depend on the positions.

        Args:
            eps_inf: high-frequency relative permittivity; its square root converts
                latent charges to physical ones.

        Returns:
            Tensors [atom, direction of polarization, direction of displacement]; zero
            on padding.

        Raises:
            ValueError: `eps_inf` is not positive.
        """
        check_permittivity(eps_inf)
        charges = self.moments.charges[..., None, None]
        identity = jnp.eye(3, dtype=charges.dtype)
        return self._with_channels(jnp.sqrt(eps_inf) * charges * identity)

    def _with_channels(
        self, values: Float[Array, "atoms charge_channels *rest"]
    ) -> Float[Array, "atoms ..."]:
        """The values with an axis of channels only if the charges have one."""
        return values if self.has_channels else values[:, 0]

    def _potential_and_field(
        self, *, remove_self: bool
    ) -> tuple[
        Float[Array, "atoms charge_channels"], Float[Array, "atoms charge_channels 3"]
    ]:
        moments = self.moments
        if moments.dipoles is None:
            zeros = jnp.zeros((*moments.charges.shape, 3), moments.charges.dtype)
            moments = Multipoles(moments.charges, zeros)
        with_dipoles = eqx.tree_at(lambda system: system.moments, self, moments)
        potential = with_dipoles._potential(remove_self=remove_self)
        mask = self.mask[:, None]
        field = jnp.where(mask[..., None], potential.dipoles, 0.0)
        return jnp.where(mask, potential.charges, 0.0), -field

    def _potential(self, *, remove_self: bool) -> Multipoles:
        """Returns the derivative of the energy by every moment; NaN if uncovered."""
        interaction = self.kernel, self.sigma
        if self.cell is None:
            potential = open_potential(self.moments, self.positions, *interaction)
        elif self.plan is None:
            raise ValueError(
                "The cell or `sigma` is traced, so the terms of the reciprocal sum are "
                "unknown: make a plan on the host with `lattice_plan(cell, positions, "
                "sigma=...)`, for the smallest width, and pass it as `plan`."
            )
        else:
            structure = self.moments, self.positions, self.cell
            if isinstance(self.plan, Mesh):
                potential = mesh_potential(*structure, *interaction, self.plan)
            else:
                potential = direct_potential(*structure, *interaction, self.plan)
            # Multiplied instead of selected with `where`, so that gradients are NaN
            # too.
            validity = one_if_covered(self.plan, self.cell, self.sigma, self.mask)
            potential = jax.tree.map(lambda x: x * validity, potential)
        if remove_self:
            self_potential = self.moments.self_potential(*interaction)
            potential = jax.tree.map(jnp.subtract, potential, self_potential)
        return potential
