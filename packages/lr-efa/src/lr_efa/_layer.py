"""The long-range layer: attention of every atom to all others."""

import warnings
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ._arguments import (
    check_features,
    check_name,
    check_plan,
    check_sizes,
    check_wave_numbers,
)
from ._attention import attend_directional
from ._coupling import path_weights
from ._maps import gated_gelu, linear, random_map
from ._method import Method, prefers_exact
from ._periodic import attend_directional_periodic
from ._shell import ShellGrid, shell_grid
from ._sphere import SphereGrid, extent, frequencies, lebedev
from ._sphere_plan import SpherePlan

# Molecules may grow so much between two plans.
_SLACK = 1.1
_ACCURACY = 1e-5


class EuclideanFastAttention(eqx.Module):
    r"""Updates every atom's features by what it attends to, near or far.

    Queries, keys and values are linear maps of the features within each degree; queries
    and keys pass a gelu, which for degrees above zero is the gate that the scalar of
    the same channel gives. A linear map, zero at first, makes the update of the
    attention. Energies and charges are zero.

    A cell is periodic and `cell=None` is open. `boundary="ignore"` applies the open
    form to the coordinates of a crystal as they are, like a published benchmark:
    results then depend on how atoms are wrapped, and it is meant to measure just that.

    Attributes:
        query: map to the queries of all heads, one matrix a degree.
        key: the same for keys.
        value: the same for values.
        output: from the attention of all heads to the update.
        coupling: learned weights of `coupling_paths`, or None.
        degree: L, of the features.
        heads: that attend independently.
        omega_max: highest frequency, 1/Å.
        width: of the periodic form's shells, 1/Å.
        method: of the open form.
        grid: of the open form where no plan says otherwise.
        boundary: what a cell means.
        normalize: which forms are divided by a number of atoms.
        uses_total_charge: false: attention does not see it.

    References:
        Frank, Chmiela, Müller and Unke, arXiv:2412.08541.
    """

    uses_total_charge: ClassVar[bool] = False
    query: Float[Array, "degrees channels all_qk"]
    key: Float[Array, "degrees channels all_qk"]
    value: Float[Array, "degrees channels all_v"]
    output: Float[Array, "degrees all_v channels"]
    coupling: Float[Array, " paths"] | None
    degree: int = eqx.field(static=True)
    heads: int = eqx.field(static=True)
    omega_max: float = eqx.field(static=True)
    width: float = eqx.field(static=True)
    method: Method = eqx.field(static=True)
    grid: SphereGrid | None
    boundary: Literal["cell", "ignore"] = eqx.field(static=True)
    normalize: Literal["periodic", "always", "never"] = eqx.field(static=True)

    def __init__(
        self,
        channels: int,
        *,
        omega_max: float,
        degree: int = 0,
        qk: int = 16,
        v: int = 16,
        heads: int = 1,
        width: float = 0.15,
        method: Method = "auto",
        grid: SphereGrid | None = None,
        boundary: Literal["cell", "ignore"] = "cell",
        normalize: Literal["periodic", "always", "never"] = "periodic",
        learn_coupling: bool = False,
        key: PRNGKeyArray,
    ):
        r"""Draws the weights.

        Args:
            channels: of the features, in every degree.
            omega_max: highest frequency, 1/Å. Molecules: $\pi$ over the extent of the
                largest one, as published; crystals: near 2, see `frequencies`.
            degree: L; 0 takes scalars `[atoms, channels]`.
            qk: channels of queries and keys a head, even.
            v: channels of values a head.
            heads: number of heads.
            width: of the periodic form's shells, 1/Å; atoms see each other up to about
                2.5 over it.
            method: of the open form, see `attend`.
            grid: of the open form, `lebedev(omega_max * extent, degree=degree)`; if
                absent, `plan_for` or concrete positions decide.
            boundary: a cell is periodic ("cell") or as if absent ("ignore").
            normalize: divide the periodic form by the number of atoms within range, or
                both, or none; the periodic one grows with the density otherwise.
            learn_coupling: train one weight for each coupling of degrees.
            key: seed of the weights.

        Raises:
            ValueError: a number is out of its range or a name unknown.
        """
        check_sizes({"channels": channels, "qk": qk, "v": v, "heads": heads})
        degree, omega_max, width = int(degree), float(omega_max), float(width)
        check_wave_numbers(omega_max, width)
        check_name("method", method, ("auto", "exact", "quadrature"))
        check_name("boundary", boundary, ("cell", "ignore"))
        check_name("normalize", normalize, ("periodic", "always", "never"))
        _check_grid(grid, degree)
        seeds = jr.split(key, 3)
        self.query = random_map(degree, channels, heads * qk, seeds[0])
        self.key = random_map(degree, channels, heads * qk, seeds[1])
        self.value = random_map(degree, channels, heads * v, seeds[2])
        self.output = jnp.zeros((degree + 1, heads * v, channels))
        weights = jnp.asarray(path_weights(degree), float)
        self.coupling = weights if learn_coupling else None
        self.degree = degree
        self.heads = int(heads)
        self.omega_max = omega_max
        self.width = width
        self.method = method
        self.grid = grid
        self.boundary = boundary
        self.normalize = normalize

    def __call__(
        self,
        features: Float[Array, "atoms *sph channels"],
        positions: Float[Array, "atoms 3"],
        cell: Float[Array, "3 3"] | None,
        mask: Bool[Array, " atoms"],
        *,
        species: Int[Array, " atoms"] | None = None,
        total_charge: Num[Array, ""] | None = None,
        plan: ShellGrid | SpherePlan | None = None,
        **_: object,
    ) -> tuple[
        Float[Array, "atoms *sph channels"],
        Float[Array, " atoms"],
        Float[Array, " atoms"],
    ]:
        """The update of the features; no energies and no charges.

        Args:
            features: scalars, or features up to `degree` in e3nn order.
            positions: Å.
            cell: rows are lattice vectors, Å; None is open.
            mask: false on padding.
            species: not used.
            total_charge: not used.
            plan: from `plan_for`; derived from concrete arguments if absent.

        Returns:
            The update; zeros, eV per atom; zeros, e per atom. All are exactly zero on
            padding.

        Raises:
            ValueError: shapes do not fit, or what depends on traced arrays is missing.
        """
        del species, total_charge
        components = features if self.degree else features[:, None]
        check_features(features, mask, self.degree, self.query.shape[1])
        components = jnp.where(mask[:, None, None], components, 0.0)
        per_head = lambda x: x.reshape(*x.shape[:2], self.heads, -1)
        query, key = (
            per_head(gated_gelu(linear(weights, components)))
            for weights in (self.query, self.key)
        )
        value = per_head(linear(self.value, components))
        attend = self._attention(positions, cell, mask, plan)
        seen = jax.vmap(attend, in_axes=2, out_axes=2)(query, key, value)
        update = linear(self.output, seen.reshape(*seen.shape[:2], -1))
        nothing = jnp.zeros(mask.shape, features.dtype)
        return update.reshape(features.shape).astype(features.dtype), nothing, nothing

    def spectrum(self) -> Float[np.ndarray, " pairs"]:
        """The frequencies of a head's pairs of channels, 1/Å."""
        return frequencies(self.query.shape[2] // self.heads // 2, self.omega_max)

    def plan_for(
        self,
        cells: Float[Array | np.ndarray, "graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "graphs slots 3"],
        mask: Bool[Array | np.ndarray, "graphs slots"],
        *,
        margin: float = 1e-3,
    ) -> ShellGrid | SpherePlan | None:
        """What a batch needs to know before tracing, made on the host.

        Crystals: the reciprocal vectors of every cell, to be passed through `jax.vmap`;
        `plan.empty` counts the frequencies of each cell at which no vector is found.
        Molecules: the layer's own grid, or a larger one if that does not reach across
        them; None where pairs of atoms are summed, which serves every molecule.

        Args:
            cells: one per graph, the identity on padding graphs, Å; None is open.
            positions: Å; used for molecules only.
            mask: false on padding.
            margin: relative stretch of the cells that stays covered.
        """
        if cells is not None and self.boundary == "cell":
            spectrum = self.spectrum()
            return shell_grid(cells, spectrum, width=self.width, margin=margin)
        if prefers_exact(self.method, mask.shape[1], self.grid):
            return None
        widest = np.max(extent(positions, mask), initial=0.0)
        phase = _SLACK * self.omega_max * float(widest)
        grid = self.grid
        if grid is None or grid.reach < phase:
            accuracy = _ACCURACY if grid is None else grid.accuracy
            grid = lebedev(phase, accuracy, degree=self.degree)
        return SpherePlan(
            grid, grid.reach / self.omega_max, ignores_cells=self.boundary == "ignore"
        )

    def _attention(self, positions, cell, mask, plan):
        """The kernel for one head."""
        coupling = self.coupling
        common = {
            "degree": self.degree,
            "coupling": path_weights(self.degree) if coupling is None else coupling,
            "mask": mask,
        }
        periodic = cell is not None and self.boundary == "cell"
        check_plan(plan, ShellGrid if periodic else SpherePlan)
        if periodic:
            return lambda query, key, value: attend_directional_periodic(
                query,
                key,
                value,
                positions,
                cell,
                self.spectrum(),
                width=self.width,
                grid=plan,
                normalize=self.normalize != "never",
                **common,
            )
        return lambda query, key, value: attend_directional(
            query,
            key,
            value,
            positions,
            self.spectrum(),
            method=self.method,
            grid=self.grid if plan is None else plan.grid,
            normalize=self.normalize == "always",
            **common,
        )


def _check_grid(grid: SphereGrid | None, degree: int) -> None:
    if degree < 0:
        raise ValueError(f"`degree` is not negative, got {degree}.")
    if grid is None:
        return
    if grid.degree < degree:
        raise ValueError(
            f"`grid` is for harmonics up to degree {grid.degree}, the layer has degree "
            f"{degree}: make it with `lebedev(..., degree={degree})`."
        )
    if grid.accuracy > _ACCURACY:
        warnings.warn(
            f"`grid` integrates plane waves to {grid.accuracy} only, not {_ACCURACY}: "
            "turning a structure will change results by as much.",
            stacklevel=3,
        )
