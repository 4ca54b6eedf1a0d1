"""The long-range layer: Euclidean fast attention of all atoms."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ._arguments import (
    check_choice,
    check_degree,
    check_features,
    check_plan,
    check_sizes,
    check_wave_numbers,
)
from ._attention import attend_directional
from ._coupling import path_weights
from ._lebedev import LebedevGrid, extent, frequency_grid, lebedev_grid
from ._linear import gated_gelu, init_linear, linear
from ._method import Method, check_layer_grid, prefers_exact
from ._open_plan import OpenPlan
from ._periodic import attend_directional_periodic
from ._shell import ShellGrid, shell_grid

# Factor by which the extent of a molecule may grow before a new plan is needed.
_EXTENT_MARGIN = 1.1
_ACCURACY = 1e-5


class EuclideanFastAttention(eqx.Module):
    r"""Attention of every atom to all atoms, at any distance, that updates features.

    Queries, keys and values are linear maps of the features within each degree. Queries
    and keys pass a gelu; for degrees above zero, the scalar of the same channel is the
    gate. The update is a linear map of the attention, initialized to zero. Energies and
    charges are zero.

    With a cell the attention is periodic, with `cell=None` it is open.
    `boundary="ignore"` applies the open form to the coordinates of a crystal without
    images, as in a published benchmark: results then depend on how atoms are wrapped
    into the cell. It exists to measure this effect.

    Attributes:
        query: weights of the queries of all heads, one matrix per degree.
        key: weights of the keys of all heads, one matrix per degree.
        value: weights of the values of all heads, one matrix per degree.
        output: weights from the attention of all heads to the update, one matrix per
            degree.
        coupling: learned weights of `coupling_paths`, or None if they are fixed.
        degree: L, largest degree of the features.
        num_heads: number of independent attention heads.
        omega_max: highest frequency, 1/Å.
        shell_thickness: thickness s of the reciprocal shells of the periodic form, the
            standard deviation of their Gaussian profile, 1/Å.
        method: "exact", "quadrature" or "auto"; for the open form.
        quadrature_grid: Lebedev grid of the open form where there is no plan, or None.
        boundary: "cell" if a cell is periodic, "ignore" if it is ignored.
        normalize: "periodic", "always" or "never" divides by a number of atoms.
        uses_total_charge: false: attention does not use the total charge.

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
            degree: L, largest degree of the features; 0 takes scalars
                `[atoms, channels]`.
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
        check_sizes(
            {
                "channels": channels,
                "qk_size": qk_size,
                "v_size": v_size,
                "num_heads": num_heads,
            }
        )
        degree, omega_max = int(degree), float(omega_max)
        shell_thickness = float(shell_thickness)
        check_degree(degree)
        check_wave_numbers(omega_max, shell_thickness)
        check_choice("method", method, ("auto", "exact", "quadrature"))
        check_choice("boundary", boundary, ("cell", "ignore"))
        check_choice("normalize", normalize, ("periodic", "always", "never"))
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
        self.shell_thickness = shell_thickness
        self.method = method
        self.quadrature_grid = quadrature_grid
        self.boundary = boundary
        self.normalize = normalize

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of the constructor but `key`, as values for JSON.

        Trained parameters are arrays of the layer and not included.
        """
        grid = self.quadrature_grid
        settings = ("order", "accuracy", "degree")
        return {
            "channels": self.query.shape[1],
            "omega_max": self.omega_max,
            "degree": self.degree,
            "qk_size": self.query.shape[2] // self.num_heads,
            "v_size": self.value.shape[2] // self.num_heads,
            "num_heads": self.num_heads,
            "shell_thickness": self.shell_thickness,
            "method": self.method,
            "quadrature_grid": grid
            and {name: getattr(grid, name) for name in settings},
            "boundary": self.boundary,
            "normalize": self.normalize,
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
            plan: result of `plan_for`; None derives it from concrete arguments.

        Returns:
            The update; zeros, eV per atom; zeros, e per atom. All are exactly zero on
            padding.

        Raises:
            ValueError: shapes do not fit, a plan is missing under a trace, or, outside
                a trace, the plan does not cover the structure.
        """
        del species, total_charge
        components = features if self.degree else features[:, None]
        check_features(features, mask, self.degree, self.query.shape[1])
        components = jnp.where(mask[:, None, None], components, 0.0)
        per_head = lambda x: x.reshape(*x.shape[:2], self.num_heads, -1)
        query, key = (
            per_head(gated_gelu(linear(weights, components)))
            for weights in (self.query, self.key)
        )
        value = per_head(linear(self.value, components))
        attend = self._attention(positions, cell, mask, plan)
        attended = jax.vmap(attend, in_axes=2, out_axes=2)(query, key, value)
        update = linear(self.output, attended.reshape(*attended.shape[:2], -1))
        zeros = jnp.zeros(mask.shape, features.dtype)
        return update.reshape(features.shape).astype(features.dtype), zeros, zeros

    def frequencies(self) -> Float[np.ndarray, " pairs"]:
        """Returns the frequencies of the pairs of channels of one head, 1/Å."""
        return frequency_grid(
            self.query.shape[2] // self.num_heads // 2, self.omega_max
        )

    def plan_for(
        self,
        cells: Float[Array | np.ndarray, "graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "graphs slots 3"],
        mask: Bool[Array | np.ndarray, "graphs slots"],
        *,
        margin: float = 1e-3,
    ) -> ShellGrid | OpenPlan | None:
        """Returns the grid for a batch of structures; runs on the host, before tracing.

        Crystals: the reciprocal vectors of every cell, with a leading batch axis for
        `jax.vmap`; `plan.num_empty` is the number of frequencies without reciprocal
        vectors in each cell. Molecules: the grid of the layer, or a larger one if that
        is too small for their extent; None if pairs of atoms are summed exactly, which
        needs no grid.

        Args:
            cells: one cell per graph, the identity on padding graphs, Å; None is open.
            positions: atomic positions, Å; used for molecules only.
            mask: false on padding.
            margin: relative stretch of the cells that remains covered.
        """
        if cells is not None and self.boundary == "cell":
            width, omegas = self.shell_thickness, self.frequencies()
            return shell_grid(cells, omegas, shell_thickness=width, margin=margin)
        if prefers_exact(self.method, mask.shape[1], self.quadrature_grid):
            return None
        largest = np.max(extent(positions, mask), initial=0.0)
        phase = _EXTENT_MARGIN * self.omega_max * float(largest)
        grid = self.quadrature_grid
        if grid is None or grid.max_phase < phase:
            accuracy = _ACCURACY if grid is None else grid.accuracy
            grid = lebedev_grid(phase, accuracy, degree=self.degree)
        return OpenPlan(
            grid,
            grid.max_phase / self.omega_max,
            ignores_cells=self.boundary == "ignore",
        )

    def _attention(self, positions, cell, mask, plan):
        """Returns the attention of one head as a function of query, key and value."""
        coupling = self.coupling
        common = {
            "degree": self.degree,
            "coupling": path_weights(self.degree) if coupling is None else coupling,
            "mask": mask,
        }
        if cell is not None and self.boundary == "cell":
            check_plan(plan, ShellGrid)
            return lambda query, key, value: attend_directional_periodic(
                query,
                key,
                value,
                positions,
                cell,
                self.frequencies(),
                shell_thickness=self.shell_thickness,
                grid=plan,
                normalize=self.normalize != "never",
                **common,
            )
        check_plan(plan, OpenPlan)
        return lambda query, key, value: attend_directional(
            query,
            key,
            value,
            positions,
            self.frequencies(),
            method=self.method,
            grid=self.quadrature_grid if plan is None else plan.grid,
            normalize=self.normalize == "always",
            **common,
        )
