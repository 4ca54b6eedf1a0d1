"""The long-range layer: latent charges and their Coulomb energy."""

import math
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ._choice import lattice_plan
from ._energy import energy
from ._grid import KGrid, check_numbers, k_grid
from ._kernels import AbstractKernel, Coulomb
from ._mesh import Mesh, mesh
from ._multipoles import Multipoles, masked
from ._readout import read_moments

# Typical latent charge (e), dipole (e Å) and quadrupole (e Å²) of a fresh layer on
# features of unit variance.
_INITIAL_MOMENT = 0.1


class LatentEwald(eqx.Module):
    r"""Reads latent charges off every atom and sums their Coulomb energy.

    $q = h W$ with the scalars $h$ and no bias, then `lr_les.energy` of $q$. The
    charges are never compared with a label: they are whatever makes energies and
    forces right. The readout is linear, so on the concatenated scalars of several
    blocks it is the sum of one readout per block, summed before the energy. Its
    weights start normal with variance $0.01 / channels$ (charges near 0.1 e): at zero
    charge every gradient of the energy vanishes, and nothing would ever train. The
    sign of the charges has no meaning. With `multipoles` of 1 or 2 it reads features
    of that degree in e3nn's order, with natural parity, and latent dipoles and
    quadrupoles from their degrees 1 and 2 in the same way.

    Attributes:
        weight: the readout $W$ of charges.
        moment_weights: the readouts of dipoles and quadrupoles, if there are any.
        kernel: the interaction; its own parameters are trained.
        raw_sigma: the learned width before softplus, or None if it is fixed.
        degree: of the features it takes: 0, scalars, unless there are multipoles.
        sigma: the width, or the one that learning starts from, Å.
        sigma_min: a learned width stays above it; plans are made for it, Å.
        uses_total_charge: false: latent charges do not sum to it.

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

    def __init__(
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
        r"""Draws the readout's weights.

        Args:
            channels: number of features per atom and component.
            charge_channels: number of latent charges per atom; their energies add.
            multipoles: 0 for charges, 1 with dipoles, 2 with quadrupoles as well.
            kernel: the interaction; None is `Coulomb()`.
            sigma: width of the interaction, Å.
            learn_sigma: train the width, as $0.75\sigma + \operatorname{softplus}$.
            remove_self: leave out the energy of each atom with itself.
            neutralize: subtract the mean charge of the structure, in every channel.
            tolerance: of the reciprocal sum, see `k_grid`.
            dl: the sharp cut of the published models instead, Å, see `k_grid`.
            method: of the reciprocal sum: vector by vector ("direct"), on a mesh
                ("mesh"), or whichever is faster for the atoms and cells at hand.
            key: seed of the weights.

        Raises:
            ValueError: a count, `multipoles` or `method` is not one of those there
                are, `sigma`, `tolerance` or `dl` is out of its range, or `dl` is asked
                of a mesh.
        """
        if channels < 1 or charge_channels < 1:
            raise ValueError(
                "`channels` and `charge_channels` are at least 1, got "
                f"{channels} and {charge_channels}."
            )
        if multipoles not in (0, 1, 2):
            raise ValueError(
                "`multipoles` is 0 (charges), 1 (with dipoles) or 2 (with "
                f"quadrupoles), got {multipoles}."
            )
        if method not in ("auto", "direct", "mesh") or (
            method == "mesh" and dl is not None
        ):
            raise ValueError(
                "`method` is 'auto', 'direct' or 'mesh', the last without `dl`, got "
                f"{method!r} and dl={dl}."
            )
        sigma, tolerance = float(sigma), float(tolerance)
        dl = None if dl is None else float(dl)
        check_numbers(sigma, tolerance, dl, margin=0.0)
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
        self.sigma = sigma
        self.remove_self = bool(remove_self)
        self.neutralize = bool(neutralize)
        self.tolerance = tolerance
        self.dl = dl
        self.method = method

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
        """No update, the energy of every atom and its latent charge.

        Args:
            features: scalars of every atom, or features up to `degree`.
            positions: Å.
            cell: rows are lattice vectors, Å; None is open.
            mask: false on padding.
            species: not used.
            total_charge: not used; latent charges are free unless neutralised.
            plan: from `plan_for`; derived from the cell if absent and not traced.

        Returns:
            Zeros of the shape of `features`; eV per atom; e per atom, the sum over
            the charge channels. All are exactly zero on padding.

        Raises:
            ValueError: shapes do not fit, a cell is traced without a plan, or nothing
                is traced and the plan does not cover the cell.
        """
        del species, total_charge
        self._check_inputs(features, mask)
        if plan is None and cell is not None:
            plan = self._plan(cell, positions.shape[0])
        moments = self.latent_moments(features, mask)
        energies = energy(
            moments.charges,
            positions,
            cell,
            dipoles=moments.dipoles,
            quadrupoles=moments.quadrupoles,
            sigma=self.width(),
            kernel=self.kernel,
            grid=plan,
            mask=mask,
            remove_self=self.remove_self,
        )
        return jnp.zeros_like(features), energies, jnp.sum(moments.charges, axis=1)

    def latent_moments(
        self, features: Float[Array, "atoms *sph channels"], mask: Bool[Array, " atoms"]
    ) -> Multipoles:
        """Charges (e), dipoles (e Å) and quadrupoles (e Å²) that enter the energy."""
        self._check_inputs(features, mask)
        components = (self.degree + 1) ** 2
        features = features.reshape(len(mask), components, -1)
        live = jnp.where(mask[:, None, None], features, 0.0)
        moments = read_moments(live, (self.weight, *self.moment_weights))
        charges = masked(moments.charges, mask, neutralize=self.neutralize)
        return Multipoles(charges, moments.dipoles, moments.quadrupoles)

    def latent_charges(
        self, features: Float[Array, "atoms *sph channels"], mask: Bool[Array, " atoms"]
    ) -> Float[Array, "atoms charge_channels"]:
        """The charges that enter the energy, e, one column per channel."""
        return self.latent_moments(features, mask).charges

    def width(self) -> float | Float[Array, ""]:
        """The width of the interaction in use, Å."""
        if self.raw_sigma is None:
            return self.sigma
        return self.sigma_min + jax.nn.softplus(self.raw_sigma)

    def plan_for(
        self,
        cells: Float[Array | np.ndarray, "graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "graphs slots 3"],
        mask: Bool[Array | np.ndarray, "graphs slots"],
        *,
        margin: float = 1e-3,
    ) -> KGrid | Mesh | None:
        """How the sum over a batch is taken, made on the host; None without cells.

        Args:
            cells: one per graph, the identity on padding graphs, Å.
            positions: only their number of slots is used.
            mask: not used.
            margin: relative stretch of the cells that stays covered.

        Returns:
            A plan with a leading graph axis, to be passed through `jax.vmap`.
        """
        del mask
        if cells is None:
            return None
        return self._plan(cells, positions.shape[1], margin)

    def _check_inputs(self, features, mask) -> None:
        """Refuses what raw messages of JAX would speak of."""
        atoms, channels = features.shape[0], self.weight.shape[0]
        if mask is None or mask.shape != (atoms,):
            raise ValueError(
                f"`mask` is true on real atoms, shape [{atoms}] like `features`, got "
                f"{None if mask is None else list(mask.shape)}: pass "
                f"`jnp.ones({atoms}, bool)` where there is no padding."
            )
        components = (self.degree + 1) ** 2
        wanted = (
            (atoms, channels) if self.degree == 0 else (atoms, components, channels)
        )
        if features.shape != wanted:
            raise ValueError(
                f"`features` of degree {self.degree} and {channels} channels have "
                f"shape {list(wanted)}, got {list(features.shape)}."
            )

    def _plan(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"],
        atoms: int,
        margin: float = 1e-3,
    ) -> KGrid | Mesh:
        tolerance, power = self.tolerance, self.kernel.power + 2 * self.degree
        shared = {"sigma": self.sigma_min, "margin": margin, "power": power}
        if self.dl is not None or self.method == "direct":
            return k_grid(cells, tolerance=tolerance, dl=self.dl, **shared)
        if self.method == "mesh":
            return mesh(cells, tolerance=tolerance, **shared)
        return lattice_plan(cells, atoms, tolerance=tolerance, **shared)
