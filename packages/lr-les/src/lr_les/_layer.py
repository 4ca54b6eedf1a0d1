"""The long-range layer: latent charges and their Coulomb energy."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ._energy import energy, masked_charges
from ._grid import KGrid, k_grid

# Typical latent charge (e) of a fresh layer on scalars of unit variance.
_INITIAL_CHARGE = 0.1


class LatentEwald(eqx.Module):
    r"""Reads latent charges off every atom and sums their Coulomb energy.

    $q = h W$ with the scalars $h$ and no bias, then `lr_les.energy` of $q$. The
    charges are never compared with a label: they are whatever makes energies and
    forces right. The readout is linear, so on the concatenated scalars of several
    blocks it is the sum of one readout per block, summed before the energy. Its
    weights start normal with variance $0.01 / channels$ (charges near 0.1 e): at zero
    charge every gradient of the energy vanishes, and nothing would ever train. The
    sign of the charges has no meaning.

    Attributes:
        weight: the readout $W$.
        raw_sigma: the learned width before softplus, or None if it is fixed.
        degree: of the features it takes: 0, scalars.
        sigma: the width, or the one that learning starts from, Å.
        sigma_min: a learned width stays above it; grids are made for it, Å.

    References:
        Cheng, npj Comput. Mater. 11, 80 (2025), doi:10.1038/s41524-025-01577-7.
    """

    weight: Float[Array, "channels charge_channels"]
    raw_sigma: Float[Array, ""] | None
    degree: int = eqx.field(static=True)
    sigma: float = eqx.field(static=True)
    sigma_min: float = eqx.field(static=True)
    remove_self: bool = eqx.field(static=True)
    neutralize: bool = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    dl: float | None = eqx.field(static=True)

    def __init__(
        self,
        channels: int,
        *,
        charge_channels: int = 1,
        sigma: float = 1.0,
        learn_sigma: bool = False,
        remove_self: bool = True,
        neutralize: bool = False,
        tolerance: float = 1e-6,
        dl: float | None = None,
        key: PRNGKeyArray,
    ):
        r"""Draws the readout's weights.

        Args:
            channels: number of scalars per atom.
            charge_channels: number of latent charges per atom; their energies add.
            sigma: width of the interaction, Å.
            learn_sigma: train the width, as $0.75\sigma + \operatorname{softplus}$.
            remove_self: leave out the energy of each charge with itself.
            neutralize: subtract the mean charge of the structure, in every channel.
            tolerance: of the reciprocal sum, see `k_grid`.
            dl: the sharp cut of the published models instead, Å, see `k_grid`.
            key: seed of the weights.

        Raises:
            ValueError: a count is below one or `sigma` is not positive.
        """
        if channels < 1 or charge_channels < 1:
            raise ValueError(
                "`channels` and `charge_channels` are at least 1, got "
                f"{channels} and {charge_channels}."
            )
        if not sigma > 0:
            raise ValueError(f"`sigma` is a width and must be positive, got {sigma}.")
        scale = _INITIAL_CHARGE / math.sqrt(channels)
        self.weight = scale * jr.normal(key, (channels, charge_channels))
        self.sigma_min = 0.75 * sigma if learn_sigma else sigma
        start = math.log(math.expm1(sigma - self.sigma_min)) if learn_sigma else None
        self.raw_sigma = None if start is None else jnp.asarray(start)
        self.degree = 0
        self.sigma = sigma
        self.remove_self = remove_self
        self.neutralize = neutralize
        self.tolerance = tolerance
        self.dl = dl

    def __call__(
        self,
        features: Float[Array, "atoms channels"],
        positions: Float[Array, "atoms 3"],
        cell: Float[Array, "3 3"] | None,
        mask: Bool[Array, " atoms"],
        *,
        species: Int[Array, " atoms"] | None = None,
        total_charge: Num[Array, ""] | None = None,
        plan: KGrid | None = None,
        **_: object,
    ) -> tuple[
        Float[Array, "atoms channels"], Float[Array, " atoms"], Float[Array, " atoms"]
    ]:
        """No update, the energy of every atom and its latent charge.

        Args:
            features: scalars of every atom.
            positions: Å.
            cell: rows are lattice vectors, Å; None is open.
            mask: false on padding.
            species: not used.
            total_charge: not used; latent charges are free unless neutralised.
            plan: from `plan_for`; derived from the cell if absent and not traced.

        Returns:
            Zeros of the shape of `features`; eV per atom; e per atom, the sum over
            the charge channels. All are exactly zero on padding.
        """
        del species, total_charge
        if plan is None and cell is not None:
            plan = self._grid(cell)
        charges = self.latent_charges(features, mask)
        energies = energy(
            charges,
            positions,
            cell,
            sigma=self.width(),
            grid=plan,
            mask=mask,
            remove_self=self.remove_self,
        )
        return jnp.zeros_like(features), energies, jnp.sum(charges, axis=1)

    def latent_charges(
        self, features: Float[Array, "atoms channels"], mask: Bool[Array, " atoms"]
    ) -> Float[Array, "atoms charge_channels"]:
        """The charges that enter the energy, e, one column per channel."""
        live = jnp.where(mask[:, None], features, 0.0)
        charges = jnp.matmul(live, self.weight, precision="highest")
        return masked_charges(charges, mask, neutralize=self.neutralize)

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
    ) -> KGrid | None:
        """The reciprocal vectors of a batch, made on the host; None without cells.

        Args:
            cells: one per graph, the identity on padding graphs, Å.
            positions: not used.
            mask: not used.
            margin: relative stretch of the cells that stays covered.

        Returns:
            A grid with a leading graph axis, to be passed through `jax.vmap`.
        """
        del positions, mask
        return None if cells is None else self._grid(cells, margin=margin)

    def _grid(
        self, cells: Float[Array | np.ndarray, "*graphs 3 3"], margin: float = 1e-3
    ) -> KGrid:
        return k_grid(
            cells,
            sigma=self.sigma_min,
            tolerance=self.tolerance,
            dl=self.dl,
            margin=margin,
        )
