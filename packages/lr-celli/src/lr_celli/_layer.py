"""The long-range layer: equilibrated charges, their energy, and back to the scalars."""

import math

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
from ._inputs import check_inputs
from ._particle_mesh import ParticleMesh
from ._perceptron import Perceptron
from ._radii import COVALENT_RADII, ELEMENTS, check_species
from ._solver import SOLVERS, coulomb_form, lattice_plan

# eV/e²; the floor keeps the matrix positive definite where Gaussians are wide.
_LEAST_HARDNESS = 0.1
_FIRST_HARDNESS = 14.4


class ChargeEquilibration(eqx.Module):
    r"""Charges from charge equilibration (CELLI), their energy, and an update by them.

    The charges minimise, at a given total charge,

    $$ E(q) = \sum_i \Bigl(\chi_i q_i + \tfrac12 J_i q_i^2\Bigr) + E_{el}(q) $$

    with the electronegativity $\chi_i$ (eV/e) read off the scalars, a hardness
    $J_z = 0.1 + \operatorname{softplus}(\eta_z)$ (eV/e²) and a width
    $\sigma_z = R_z \operatorname{softplus}(\rho_z)$ (Å) of a Gaussian charge for each
    element, starting from 14.4 eV/e² and the covalent radius $R_z$. $J$ adds to the
    Gaussian's own $k_e/(\sigma\sqrt\pi)$. The charges are meant to be compared with
    labels where there are any.

    The energy is $E_{el}$ alone (`energy="coulomb"`, as published, with no gradient
    into the widths through this term) or all of $E(q)$ (`energy="total"`).

    Attributes:
        electronegativity_readout: from scalars to $\chi$; without biases, since a
            constant moves no charge, and never starting from zero.
        raw_hardness: $\eta$ by atomic number.
        raw_width: $\rho$ by atomic number.
        hardness_readout: what the environment adds to $\eta$, or None.
        embedding: from charges to an update of the scalars.
        degree: of the features it takes: 0, scalars.
        energy: `"coulomb"` or `"total"`.
        solver: `"dense"`, `"iterative"` or `"auto"`.
        scale: of the electronegativities of a fresh layer, eV/e.
        width_bounds: widths are cut off there, Å.
        tolerance: of the matrix, see `Ewald.for_cells`.

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
        hidden: tuple[int, ...] = (64, 64),
        energy: str = "coulomb",
        solver: str = "auto",
        environment_hardness: bool = False,
        scale: float = 5.0,
        width_bounds: tuple[float, float] = (0.1, 3.0),
        tolerance: float | None = None,
        key: PRNGKeyArray,
    ):
        """Draws the weights.

        Args:
            channels: number of scalars an atom.
            hidden: widths of the electronegativity readout's hidden layers; none make
                it linear.
            energy: `"coulomb"` or `"total"`.
            solver: `"dense"` factorises the matrix, `"iterative"` never forms it;
                `"auto"` takes the faster one for the number of slots. Open boundaries
                are always dense.
            environment_hardness: let the scalars change the hardness of an atom.
            scale: typical electronegativity of a fresh layer, eV/e.
            width_bounds: widths are cut off there, Å; the iterative solver's cost grows
                with the third power of the upper one.
            tolerance: of the matrix; None follows the precision JAX runs in, and is
                1e-6 for the iterative solver.
            key: seed of the weights.

        Raises:
            ValueError: a number or a word is not among those that make sense.
        """
        if channels < 1:
            raise ValueError(f"`channels` is at least 1, got {channels}.")
        if energy not in ("coulomb", "total"):
            raise ValueError(f'`energy` is "coulomb" or "total", got {energy!r}.')
        if solver not in SOLVERS:
            raise ValueError(
                f'`solver` is "dense", "iterative" or "auto", got {solver!r}.'
            )
        low, high = map(float, width_bounds)
        check_bounds((low, high))
        chi_key, hardness_key, embedding_key = jr.split(key, 3)
        self.electronegativity_readout = Perceptron((channels, *hidden, 1), key=chi_key)
        hardness = _FIRST_HARDNESS - _LEAST_HARDNESS
        self.raw_hardness = jnp.full(ELEMENTS, math.log(math.expm1(hardness)))
        self.raw_width = jnp.full(ELEMENTS, math.log(math.expm1(1.0)))
        self.hardness_readout = None
        if environment_hardness:
            readout = Perceptron((channels, *hidden, 1), key=hardness_key)
            self.hardness_readout = readout.silenced()
        self.embedding = ChargeEmbedding(channels, key=embedding_key)
        self.degree = 0
        self.energy = energy
        self.solver = solver
        self.scale = float(scale)
        self.width_bounds = low, high
        self.tolerance = None if tolerance is None else float(tolerance)

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

        Raises:
            ValueError: shapes do not fit, or the plan is missing or does not cover the
                structure, as far as values are known.
        """
        check_inputs(features, positions, mask, species, self.channels)
        if plan is None and cell is not None:
            plan = self._plan(cell, positions, mask)
        features = jnp.where(mask[:, None], features, 0.0)
        chi = self.electronegativity(features)
        hardness, width = self.hardness(species, features), self.width(species)
        coulomb = coulomb_form(positions, width, cell, plan, mask)
        charges = equilibrate(chi, hardness, coulomb, total_charge, mask)
        if self.energy == "coulomb":
            # The same numbers with fewer derivatives: a compiler finds them once.
            width = jax.lax.stop_gradient(width)
            coulomb = coulomb_form(positions, width, cell, plan, mask)
        potential = coulomb(charges) / 2
        if self.energy == "total":
            potential = potential + chi + hardness * charges / 2
        update = self.embedding(features, charges, species)
        update = jnp.where(mask[:, None], update, 0.0)
        return update, jnp.where(mask, charges * potential, 0.0), charges

    @property
    def channels(self) -> int:
        """Number of scalars an atom."""
        return self.electronegativity_readout.weights[0].shape[0]

    def check_elements(self, numbers: Int[Array | np.ndarray, " elements"]) -> None:
        """Raises ValueError that names the first element without a covalent radius.

        Args:
            numbers: atomic numbers.
        """
        check_species(np.asarray(numbers))

    def electronegativity(
        self, features: Float[Array, "atoms channels"]
    ) -> Float[Array, " atoms"]:
        """The electronegativity of every atom, eV/e."""
        return self.scale * self.electronegativity_readout(features)[:, 0]

    def hardness(
        self,
        species: Int[Array, " atoms"],
        features: Float[Array, "atoms channels"] | None = None,
    ) -> Float[Array, " atoms"]:
        """The hardness of every atom without its Gaussian's own, eV/e².

        Args:
            species: atomic numbers.
            features: scalars, needed if the hardness depends on the environment.
        """
        raw = self.raw_hardness[species]
        if self.hardness_readout is not None:
            if features is None:
                raise ValueError(
                    "This layer's hardness depends on the environment: pass `features`."
                )
            raw = raw.astype(features.dtype) + self.hardness_readout(features)[:, 0]
        return _LEAST_HARDNESS + jax.nn.softplus(raw)

    def width(self, species: Int[Array, " atoms"]) -> Float[Array, " atoms"]:
        """The width of every atom's Gaussian charge, Å.

        Args:
            species: atomic numbers up to 96; others have no covalent radius, which is
                an error or, in a trace, a width of NaN.
        """
        if not isinstance(species, Tracer):
            check_species(np.asarray(species))
        radii = jnp.asarray(COVALENT_RADII, self.raw_width.dtype)[species]
        width = radii * jax.nn.softplus(self.raw_width[species])
        return jnp.clip(width, *self.width_bounds)

    def full_hardness(
        self,
        species: Int[Array, " atoms"],
        features: Float[Array, "atoms channels"] | None = None,
    ) -> Float[Array, " atoms"]:
        r"""The hardness with the Gaussian's own, $J + k_e/(\sigma\sqrt\pi)$, eV/e².

        Args:
            species: atomic numbers.
            features: scalars, needed if the hardness depends on the environment.
        """
        own = COULOMB_CONSTANT / (self.width(species) * math.sqrt(math.pi))
        return self.hardness(species, features) + own

    def plan_for(
        self,
        cells: Float[Array | np.ndarray, "graphs 3 3"] | None,
        positions: Float[Array | np.ndarray, "graphs slots 3"],
        mask: Bool[Array | np.ndarray, "graphs slots"],
        *,
        margin: float = 1e-3,
    ) -> Ewald | ParticleMesh | None:
        """The lattice sums' terms for a batch, made on the host; None without cells.

        Args:
            cells: one per graph; that of a graph without atoms does not matter, Å.
            positions: Å.
            mask: false on padding.
            margin: relative strain of the cells that stays covered.

        Returns:
            A plan with a leading graph axis, to be passed through `jax.vmap`.
        """
        if cells is None:
            return None
        alive = np.asarray(mask).any(axis=1)
        host = np.asarray(cells, np.float64)
        # The identity cell of padding would ask for thousands of images.
        needed = host[alive][0] if alive.any() else 10 * np.eye(3)
        host = np.where(alive[:, None, None], host, needed)
        plan = self._plan(host, positions, mask, margin=margin)
        real = jnp.asarray(np.asarray(cells), plan.cell.dtype)
        return eqx.tree_at(lambda plan: plan.cell, plan, real)

    def _plan(
        self,
        cells: Float[Array | np.ndarray, "*graphs 3 3"],
        positions: Float[Array | np.ndarray, "*graphs slots 3"],
        mask: Bool[Array | np.ndarray, "*graphs slots"],
        margin: float = 1e-3,
    ) -> Ewald | ParticleMesh:
        return lattice_plan(
            cells,
            positions,
            mask,
            solver=self.solver,
            width_bounds=self.width_bounds,
            tolerance=self.tolerance,
            margin=margin,
        )
