"""The long-range layer: Euclidean fast attention of all atoms."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ._arguments import (
    check_degree,
    check_features,
    check_layer_choices,
    check_sizes,
    check_wave_numbers,
)
from ._attention import attend
from ._coupling import path_weights
from ._lattice import check_axes
from ._lebedev import LebedevGrid, frequency_grid
from ._linear import gated_gelu, init_linear, linear
from ._method import Method, check_layer_grid, prefers_exact
from ._open_plan import OpenPlan
from ._shell import ShellGrid

# Relative growth of the extent of a molecule that a plan covers at least.
_EXTENT_MARGIN = 0.1
_ACCURACY = 1e-5


class EuclideanFastAttention(eqx.Module):
    r"""Attention of every atom to all atoms, at any distance, that updates features.

    Queries, keys and values are linear maps of the features within each degree. Queries
    and keys pass a gelu; for degrees above zero, the scalar of the same channel is the
    gate. The update is a linear map of the attention, initialized to zero. Energies and
    charges are zero.

    With a cell the attention is periodic, with `cell=None` open. `boundary="ignore"`
    applies the open form to crystals without images, as in a published benchmark, to
    measure its effect: results then depend on how atoms are wrapped into the cell.

    Attributes:
        query, key, value: weights of all heads, one matrix per degree.
        output: weights from the attention of all heads to the update, per degree.
        coupling: learned weights of `coupling_paths`, or None if they are fixed.
        uses_total_charge: false: attention does not use the total charge.

    The other attributes are arguments of the constructor.

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
    num_heads: int = eqx.field(static=True)
    omega_max: float = eqx.field(static=True)
    shell_thickness: float = eqx.field(static=True)
    method: Method = eqx.field(static=True)
    quadrature_grid: LebedevGrid | None
    boundary: Literal["cell", "ignore"] = eqx.field(static=True)
    normalize: Literal["periodic", "always", "never"] = eqx.field(static=True)

    def __init__(  # noqa: PLR0913  settings of the layer
        self,
        channels: int,
        *,
        omega_max: float,
        degree: int = 0,
        qk_size: int = 16,
        v_size: int = 16,
        num_heads: int = 1,
        shell_thickness: float = 0.15,
        method: Method = "auto",
        quadrature_grid: LebedevGrid | None = None,
        boundary: Literal["cell", "ignore"] = "cell",
        normalize: Literal["periodic", "always", "never"] = "periodic",
        learn_coupling: bool = False,
        key: PRNGKeyArray,
    ):
        r"""Initializes the weights.

        Args:
            channels: number of channels of the features, in every degree.
            omega_max: highest frequency, 1/Å. Molecules: $\pi$ over the extent of the
                largest one, as published; crystals: near 2, see `frequency_grid`.
            degree: L, largest degree of the features; 0 takes scalars.
            qk_size: number of channels of queries and keys per head, even.
            v_size: number of channels of values per head.
            num_heads: number of heads.
            shell_thickness: thickness s of the reciprocal shells of the periodic form,
                the standard deviation of their Gaussian profile, 1/Å; the range of the
                attention is about 2.5/s.
            method: form of the open attention, see `attend`.
            quadrature_grid: Lebedev grid of the open form, from
                `lebedev_grid(omega_max * extent, degree=degree)`; None lets `plan_for`
                or concrete positions determine it.
            boundary: "cell": a cell is periodic; "ignore": a cell is ignored.
            normalize: divide only the periodic form by the number of atoms within range
                ("periodic"), both forms by their number of atoms ("always"), or none
                ("never"); unnormalized, the periodic form grows with the density.
            learn_coupling: whether the weight of each Clebsch-Gordan path is trained.
            key: random key of the weights.

        Raises:
            ValueError: a size or wave number is out of range, or `method`, `boundary`
                or `normalize` is none of its choices.
        """
        sizes = {"qk_size": qk_size, "v_size": v_size, "num_heads": num_heads}
        check_sizes(channels=channels, **sizes)
        degree, omega_max = int(degree), float(omega_max)
        check_degree(degree)
        check_wave_numbers(omega_max, shell_thickness)
        check_layer_choices(method, boundary, normalize)
        check_layer_grid(quadrature_grid, degree, _ACCURACY)
        seeds = jr.split(key, 3)
        self.query = init_linear(degree, channels, num_heads * qk_size, seeds[0])
        self.key = init_linear(degree, channels, num_heads * qk_size, seeds[1])
        self.value = init_linear(degree, channels, num_heads * v_size, seeds[2])
        self.output = jnp.zeros((degree + 1, num_heads * v_size, channels))
        weights = jnp.asarray(path_weights(degree), float)
        self.coupling = weights if learn_coupling else None
        self.degree = degree
        self.num_heads = int(num_heads)
        self.omega_max = omega_max
        self.shell_thickness = float(shell_thickness)
        self.method = method
        self.quadrature_grid = quadrature_grid
        self.boundary = boundary
        self.normalize = normalize

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of the constructor but `key`, as values for JSON."""
        names = "omega_max", "degree", "num_heads", "shell_thickness"
        names += "method", "boundary", "normalize"
        grid = self.quadrature_grid
        return {name: getattr(self, name) for name in names} | {
            "channels": self.query.shape[1],
            "qk_size": self.query.shape[2] // self.num_heads,
            "v_size": self.value.shape[2] // self.num_heads,
            "quadrature_grid": None if grid is None else dataclasses.asdict(grid),
            "learn_coupling": self.coupling is not None,
        }

    @classmethod
    def from_arguments(
        cls, arguments: Mapping[str, Any], *, key: PRNGKeyArray
    ) -> "EuclideanFastAttention":
        """Returns a layer of the architecture that `arguments` describes.

        Args:
            arguments: result of the method `arguments`, also after JSON.
            key: random key of the weights.
        """
        settings = arguments["quadrature_grid"]
        grid = None if settings is None else LebedevGrid(**settings)
        return cls(**{**arguments, "quadrature_grid": grid}, key=key)

    def __call__(
        self,
        features: Float[Array, "atoms *sph channels"],
        positions: Float[Array, "atoms 3"],
        cell: Float[Array, "3 3"] | None,
        mask: Bool[Array, " atoms"],
        *,
        species: Int[Array, " atoms"] | None = None,
        total_charge: Num[Array, ""] | None = None,
        plan: ShellGrid | OpenPlan | None = None,
        **_: object,
    ) -> tuple[
        Float[Array, "atoms *sph channels"],
        Float[Array, " atoms"],
        Float[Array, " atoms"],
    ]:
        """Returns the update of the features, zero energies and zero charges.

        Args:
            features: scalars, or features up to `degree` in e3nn order.
            positions: atomic positions, Å.
            cell: rows are lattice vectors, Å; None is open.
            mask: false on padding.
            species: not used.
            total_charge: not used.
            plan: result of `plan`, or of `plan_for` under `jax.vmap`; None derives it
                from concrete arguments.

        Returns:
            The update; zeros, eV per atom; zeros, e per atom. All are exactly zero on
            padding.

        Raises:
            ValueError: shapes do not fit, a plan is missing under a trace, or, outside
                a trace, the plan does not cover the structure.
        """
        del species, total_charge
        components = features if self.degree else features[:, None]
        check_features(features, positions, mask, self.degree, self.query.shape[1])
        components = jnp.where(mask[:, None, None], components, 0.0)
        per_head = lambda x: x.reshape(*x.shape[:2], self.num_heads, -1)
        gated = lambda weights: per_head(gated_gelu(linear(weights, components)))
        query, key = gated(self.query), gated(self.key)
        value = per_head(linear(self.value, components))
        one_head = self._attention(positions, cell, mask, plan)
        attended = jax.vmap(one_head, in_axes=2, out_axes=2)(query, key, value)
        update = linear(self.output, attended.reshape(*attended.shape[:2], -1))
        zeros = jnp.zeros(mask.shape, features.dtype)
        return update.reshape(features.shape).astype(features.dtype), zeros, zeros

    def frequencies(self) -> Float[np.ndarray, " pairs"]:
        """Returns the frequencies of the pairs of channels of one head, 1/Å."""
        num_pairs = self.query.shape[2] // self.num_heads // 2
        return frequency_grid(num_pairs, self.omega_max)

    def plan_for(
        self,
        cells: Float[Array | np.ndarray, "graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "graphs slots 3"],
        mask: Bool[Array | np.ndarray, "graphs slots"] | None = None,
        *,
        margin: float = 1e-3,
    ) -> ShellGrid | OpenPlan | None:
        """Returns the plan for a batch of structures, made on the host before tracing.

        Crystals: the reciprocal vectors of every cell, with a leading batch axis for
        `jax.vmap`. Molecules: the grid of the layer, or a larger one if that is too
        small for their extent; None if pairs are summed exactly, so that a loop checks
        `plan is None or plan.covers(...)`.

        Args:
            cells: one cell per graph, the identity on padding graphs, Å; None is open.
            positions: atomic positions, Å; used for molecules only.
            mask: false on padding; None is no padding.
            margin: relative strain of the cells that remains covered; of molecules
                the relative growth of the extent, at least 0.1.
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
    ) -> ShellGrid | OpenPlan | None:
        """Returns the plan for one structure; arguments as in `plan_for`."""
        check_axes(positions, batch=False)
        return self._plan(cell, positions, mask, margin)

    def _plan(self, cells, positions, mask, margin) -> ShellGrid | OpenPlan | None:
        structures, omegas = (cells, positions, mask), self.frequencies()
        if cells is not None and self.boundary == "cell":
            shells = {"frequencies": omegas, "shell_thickness": self.shell_thickness}
            return ShellGrid.for_structures(*structures, **shells, margin=margin)
        if prefers_exact(self.method, positions.shape[-2], self.quadrature_grid):
            return None
        return OpenPlan.for_structures(
            *structures,
            frequencies=omegas,
            degree=self.degree,
            margin=max(margin, _EXTENT_MARGIN),
            quadrature_grid=self.quadrature_grid,
            ignore_cells=self.boundary == "ignore",
        )

    def _attention(self, positions, cell, mask, plan):
        """Returns the attention of one head as a function of query, key and value."""
        if self.boundary == "ignore":
            cell = None
        if plan is None and cell is None and self.quadrature_grid is not None:
            plan = OpenPlan(self.quadrature_grid, self.omega_max)
        normalized = ("always",) if cell is None else ("always", "periodic")
        coupling = self.coupling
        return lambda query, key, value: attend(
            query,
            key,
            value,
            positions,
            cell,
            frequencies=self.frequencies(),
            degree=self.degree,
            plan=plan,
            mask=mask,
            coupling=path_weights(self.degree) if coupling is None else coupling,
            shell_thickness=self.shell_thickness,
            method=self.method,
            normalize=self.normalize in normalized,
        )
