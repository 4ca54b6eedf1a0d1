"""The long-range layer: latent charges and their Coulomb energy."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ._checks import check_features, check_layer_settings, check_plan_settings
from ._energy import energy
from ._grid import KGrid
from ._kernel_arguments import kernel_arguments, kernel_from_arguments
from ._kernels import AbstractKernel, Coulomb
from ._lattice import check_axes, check_positions
from ._mesh import Mesh
from ._multipoles import Multipoles, masked
from ._plan import lattice_plan
from ._readout import read_moments

# Standard deviation of the initial latent charges (e), dipoles (e Å) and quadrupoles
# (e Å²) for features of unit variance.
_INITIAL_MOMENT = 0.1


class LatentEwald(eqx.Module):
    r"""Latent charges from per-atom features, and their Coulomb energy.

    The latent charges are $q = h W$ with the scalar features $h$ and no bias; their
    energy is `lr_les.energy`. The charges are not fitted to labels: only energies and
    forces are. The readout is linear: on the concatenated scalars of all blocks it
    equals the sum of one readout per block. Its weights are initialized from a normal
    distribution of variance $0.01 / channels$ (charges near 0.1 e), because at zero
    charge all gradients of the energy vanish. The sign of the charges is arbitrary.
    With `multipoles` of 1 or 2, the layer takes features up to that degree in e3nn's
    order, with natural parity, and reads latent dipoles and quadrupoles from degrees 1
    and 2 in the same way.

    Attributes:
        weight: the weights $W$ of the charges.
        moment_weights: the weights of dipoles and quadrupoles, empty without
            multipoles.
        kernel: the interaction; its parameters are trained.
        raw_sigma: the trained width before softplus, or None if the width is fixed.
        degree: largest degree of the features: 0 (scalars) for charges alone, else
            `multipoles`.
        sigma: the width of the interaction, or its initial value if it is trained, Å.
        sigma_min: lower bound of a trained width, Å; plans are made for it.
        remove_self: whether the energy of each atom with itself is left out.
        neutralize: whether the mean charge is subtracted.
        tolerance: relative error of the reciprocal sum.
        dl: the sharp cutoff of the published models, Å, or None.
        method: "direct", "mesh" or "auto".
        uses_total_charge: false: latent charges do not sum to the total charge.

    References:
        Cheng, npj Comput. Mater. 11, 80 (2025), doi:10.1038/s41524-025-01577-7.
    """

    uses_total_charge: ClassVar[bool] = False
    weight: Float[Array, "channels charge_channels"]
    moment_weights: tuple[Float[Array, "channels charge_channels"], ...]
    kernel: AbstractKernel
    raw_sigma: Float[Array, ""] | None
    degree: int = eqx.field(static=True)
    sigma: float = eqx.field(static=True)
    sigma_min: float = eqx.field(static=True)
    remove_self: bool = eqx.field(static=True)
    neutralize: bool = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    dl: float | None = eqx.field(static=True)
    method: str = eqx.field(static=True)

    def __init__(  # noqa: PLR0913  settings of the layer
        self,
        channels: int,
        *,
        charge_channels: int = 1,
        multipoles: int = 0,
        kernel: AbstractKernel | None = None,
        sigma: float = 1.0,
        learn_sigma: bool = False,
        remove_self: bool = True,
        neutralize: bool = False,
        tolerance: float = 1e-6,
        dl: float | None = None,
        method: Literal["auto", "direct", "mesh"] = "auto",
        key: PRNGKeyArray,
    ):
        r"""Initializes the weights.

        Args:
            channels: number of features per atom and component.
            charge_channels: number of latent charges per atom; their energies are
                added.
            multipoles: 0 for charges, 1 for charges and dipoles, 2 for charges, dipoles
                and quadrupoles.
            kernel: the interaction; None is `Coulomb()`.
            sigma: width of the interaction, the standard deviation of the Gaussian
                charge density that acts on a point charge, Å.
            learn_sigma: train the width, as $0.75\sigma + \operatorname{softplus}$.
            remove_self: leave out the energy of each atom with itself.
            neutralize: subtract the mean charge of the structure, in every channel.
            tolerance: relative error of the reciprocal sum, see `KGrid.for_structures`.
            dl: the sharp cutoff of the published models, Å, see
                `KGrid.for_structures`; None is the smooth window.
            method: reciprocal sum over vectors ("direct"), on a mesh ("mesh"), or the
                faster one for the number of atoms and the cells ("auto").
            key: random key of the weights.

        Raises:
            ValueError: a count, `multipoles` or `method` is none of its choices,
                `sigma`, `tolerance` or `dl` is out of its range, or `dl` is combined
                with a mesh.
        """
        check_layer_settings(channels, charge_channels, multipoles, method, dl)
        sigma, tolerance = float(sigma), float(tolerance)
        dl = None if dl is None else float(dl)
        check_plan_settings(sigma, tolerance, dl, margin=0.0)
        scale = _INITIAL_MOMENT / math.sqrt(channels)
        keys = [key, *(jr.fold_in(key, n) for n in range(1, multipoles + 1))]
        draw = lambda key: scale * jr.normal(key, (channels, charge_channels))
        self.weight, *others = map(draw, keys)
        self.moment_weights = tuple(others)
        self.kernel = Coulomb() if kernel is None else kernel
        self.sigma_min = 0.75 * sigma if learn_sigma else sigma
        start = math.log(math.expm1(sigma - self.sigma_min)) if learn_sigma else None
        self.raw_sigma = None if start is None else jnp.asarray(start)
        self.degree = int(multipoles)
        self.remove_self = bool(remove_self)
        self.neutralize = bool(neutralize)
        self.sigma, self.tolerance, self.dl = sigma, tolerance, dl
        self.method = method

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of the constructor but `key`, as values for JSON.

        The kernel is its name and what determines its architecture; trained parameters
        are arrays of the layer and not included.

        Raises:
            ValueError: the kernel is not one of this package.
        """
        channels, charge_channels = self.weight.shape
        return {
            "channels": channels,
            "charge_channels": charge_channels,
            "multipoles": self.degree,
            "kernel": kernel_arguments(self.kernel),
            "sigma": self.sigma,
            "learn_sigma": self.raw_sigma is not None,
            "remove_self": self.remove_self,
            "neutralize": self.neutralize,
            "tolerance": self.tolerance,
            "dl": self.dl,
            "method": self.method,
        }

    @classmethod
    def from_arguments(
        cls, arguments: Mapping[str, Any], *, key: PRNGKeyArray
    ) -> "LatentEwald":
        """Returns a layer of the architecture that `arguments` describes.

        Args:
            arguments: result of the method `arguments`, also after JSON.
            key: random key of the weights.
        """
        kernel = kernel_from_arguments(arguments["kernel"])
        return cls(**{**arguments, "kernel": kernel}, key=key)

    def __call__(
        self,
        features: Float[Array, "atoms *sph channels"],
        positions: Float[Array, "atoms 3"],
        cell: Float[Array, "3 3"] | None,
        mask: Bool[Array, " atoms"],
        *,
        species: Int[Array, " atoms"] | None = None,
        total_charge: Num[Array, ""] | None = None,
        plan: KGrid | Mesh | None = None,
        **_: object,
    ) -> tuple[
        Float[Array, "atoms *sph channels"],
        Float[Array, " atoms"],
        Float[Array, " atoms"],
    ]:
        """Returns a zero update of the features, energies and latent charges.

        Args:
            features: scalars, or features up to `degree` in e3nn order.
            positions: atomic positions, Å.
            cell: rows are lattice vectors, Å; None is open.
            mask: false on padding.
            species: not used.
            total_charge: not used; latent charges do not sum to it.
            plan: result of `plan`, or of `plan_for` under `jax.vmap`; None derives it
                from a cell that is not traced.

        Returns:
            Zeros of the shape of `features`; energies, eV per atom; latent charges
            summed over the channels, e per atom. All are exactly zero on padding.

        Raises:
            ValueError: shapes do not fit, a cell is traced without a plan, or, outside
                a trace, the plan does not cover the cell.
        """
        del species, total_charge
        check_positions(positions)
        check_features(features, mask, self.degree, len(self.weight))
        if plan is None and cell is not None:
            plan = self.plan(cell, positions, mask)
        moments = self.latent_moments(features, mask)
        energies = energy(
            moments,
            positions,
            cell,
            plan=plan,
            mask=mask,
            sigma=self.current_sigma(),
            kernel=self.kernel,
            remove_self=self.remove_self,
        )
        return jnp.zeros_like(features), energies, jnp.sum(moments.charges, axis=1)

    def latent_moments(
        self, features: Float[Array, "atoms *sph channels"], mask: Bool[Array, " atoms"]
    ) -> Multipoles:
        """Returns the latent charges (e), dipoles (e Å) and quadrupoles (e Å²)."""
        check_features(features, mask, self.degree, len(self.weight))
        components = (self.degree + 1) ** 2
        features = features.reshape(len(mask), components, -1)
        features = jnp.where(mask[:, None, None], features, 0.0)
        moments = read_moments(features, (self.weight, *self.moment_weights))
        charges = masked(moments.charges, mask, neutralize=self.neutralize)
        return Multipoles(charges, moments.dipoles, moments.quadrupoles)

    def latent_charges(
        self, features: Float[Array, "atoms *sph channels"], mask: Bool[Array, " atoms"]
    ) -> Float[Array, "atoms charge_channels"]:
        """Returns the latent charges, e, one column per channel."""
        return self.latent_moments(features, mask).charges

    def current_sigma(self) -> float | Float[Array, ""]:
        """Returns the width of the interaction at the current parameters, Å."""
        if self.raw_sigma is None:
            return self.sigma
        return self.sigma_min + jax.nn.softplus(self.raw_sigma)

    def plan_for(
        self,
        cells: Float[Array | np.ndarray, "graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "graphs slots 3"],
        mask: Bool[Array | np.ndarray, "graphs slots"] | None = None,
        *,
        margin: float = 1e-3,
    ) -> KGrid | Mesh | None:
        """Returns the plan for a batch of structures, made on the host before tracing.

        Args:
            cells: one cell per graph, the identity on padding graphs, Å; None is open.
            positions: atomic positions, Å; only the number of slots is used.
            mask: false on padding; None is no padding.
            margin: relative strain of the cells that remains covered; 0.1 is suitable
                for molecular dynamics with a variable cell.

        Returns:
            A plan with a leading batch axis for `jax.vmap`; None in open boundaries, so
            that a loop checks `plan is None or plan.covers(...)`.
        """
        check_axes(positions, batch=True)
        return self._plan(cells, positions, mask, margin)

    def plan(
        self,
        cell: Float[Array | np.ndarray, "3 3"] | None,
        positions: Float[Array | np.ndarray, "atoms 3"],
        mask: Bool[Array | np.ndarray, " atoms"] | None = None,
        *,
        margin: float = 1e-3,
    ) -> KGrid | Mesh | None:
        """Returns the plan for one structure; arguments as in `plan_for`."""
        check_axes(positions, batch=False)
        return self._plan(cell, positions, mask, margin)

    def _plan(self, cells, positions, mask, margin) -> KGrid | Mesh | None:
        shared: dict[str, Any] = {"sigma": self.sigma_min, "tolerance": self.tolerance}
        shared |= {"margin": margin, "power": self.kernel.power + 2 * self.degree}
        if self.dl is not None or self.method == "direct":
            return KGrid.for_structures(cells, positions, mask, dl=self.dl, **shared)
        if self.method == "mesh":
            return Mesh.for_structures(cells, positions, mask, **shared)
        return lattice_plan(cells, positions, mask, **shared)
