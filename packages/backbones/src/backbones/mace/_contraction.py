"""The symmetric contraction of MACE: products of the messages of each node."""

import functools
import itertools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ._symmetric_basis import Monomial, Polynomials, symmetric_basis
from ._tiles import in_tiles

# Number of nodes times channels per tile on a CPU.
_TILE_SIZE = 1024


class SymmetricContraction(eqx.Module):
    """Equivariant polynomials of the messages, with weights for each element.

    B_i = sum_{order, eta} W[z_i, eta] P_eta(A_i, ..., A_i), channel by channel. Each
    distinct monomial is computed once; a few matrix products then give all polynomials.

    Args:
        degree: highest degree of the messages.
        out_degree: highest degree of the products.
        correlation: highest order of the polynomials, 1 to 3.
        elements: number of elements.
        channels: number of channels.
        key: seed of the weights.

    References:
        arXiv 2206.07697.
    """

    weights: tuple[Float[Array, "elements basis channels"], ...]
    degree: int = eqx.field(static=True)
    correlation: int = eqx.field(static=True)

    def __init__(
        self,
        degree: int,
        out_degree: int,
        correlation: int,
        *,
        elements: int,
        channels: int,
        key: PRNGKeyArray,
    ):
        if not 1 <= correlation <= 3:
            raise ValueError(f"`correlation` must be 1, 2 or 3, got {correlation}.")
        self.degree, self.correlation = degree, correlation
        keys = jr.split(key, out_degree + 1)
        weights = []
        for out, k in enumerate(keys):
            count = sum(
                len(symmetric_basis(degree, out, n).table)
                for n in range(1, correlation + 1)
            )
            normal = jr.normal(k, (elements, count, channels))
            weights.append(normal * count**-0.5)
        self.weights = tuple(weights)

    def __call__(
        self,
        messages: Float[Array, "nodes sph channels"],
        one_hot: Float[Array, "nodes elements"],
    ) -> Float[Array, "nodes outputs channels"]:
        """Returns the products, of degree 0 to `out_degree`.

        Args:
            messages: up to `degree`, in e3nn order.
            one_hot: element of each node.
        """
        weights = [
            jnp.einsum("nz,zpc->npc", one_hot, weight) for weight in self.weights
        ]
        products = functools.partial(
            _products, _tables(self.degree, len(self.weights), self.correlation)
        )
        tile = max(1, _TILE_SIZE // messages.shape[-1])
        return in_tiles(products, (), (messages, weights), tile)


class Factors(NamedTuple):
    """Monomials as products of a shorter monomial and a component."""

    parents: np.ndarray
    """Index of the shorter monomial, `(monomials,)`."""
    added: np.ndarray
    """Index of the component, `(monomials,)`."""

    def multiply(
        self,
        shorter: Float[Array, "parents lanes"],
        components: Float[Array, "sph lanes"],
    ) -> Float[Array, "monomials lanes"]:
        """Returns the monomials, given the shorter ones and the components."""
        # A product with a one-hot matrix has a matrix product as derivative, whereas
        # that of a gather is a slow scatter-add.
        one_hot = jnp.asarray(np.eye(len(components))[self.added], components.dtype)
        added = jnp.matmul(one_hot, components, precision=jax.lax.Precision.HIGHEST)
        return shorter[self.parents] * added


class Sector(NamedTuple):
    """Components of polynomials that have no monomials in common with other sectors.

    The reflection of an axis changes the sign of a component or not, and likewise that
    of each of its monomials. So the table of all polynomials is block-diagonal.
    """

    parts: list[tuple[int, int]]
    """Degree and component of the polynomials of the table, in order."""
    table: np.ndarray
    """Coefficients, `(polynomials, monomials)`."""


class ContractionTables(NamedTuple):
    """Tables for the computation of all polynomials."""

    lower: list[Factors]
    """Factors of the monomials of each order from 2 to the highest but one."""
    monomials: Factors
    """Factors of the monomials of all sectors, in order."""
    sectors: list[Sector]


def _products(
    tables: ContractionTables,
    shared: tuple[()],
    messages: Float[Array, "nodes sph channels"],
    weights: list[Float[Array, "nodes _ channels"]],
) -> Float[Array, "nodes outputs channels"]:
    """Returns the polynomials of the messages, summed with the weights of each node."""
    del shared
    nodes, _, channels = messages.shape
    # With components first, one matrix product covers all nodes and channels.
    components_first = lambda x: jnp.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    components = components_first(messages)
    weights = [components_first(w) for w in weights]
    powers = [jnp.ones_like(components[:1]), components]
    for factors in tables.lower:
        powers.append(factors.multiply(powers[-1], components))
    monomials = tables.monomials.multiply(jnp.concatenate(powers), components)
    ends = np.cumsum([sector.table.shape[1] for sector in tables.sectors])
    out = {}
    blocks = jnp.split(monomials, ends[:-1])
    for sector, block in zip(tables.sectors, blocks, strict=True):
        polynomials = jnp.asarray(sector.table, block.dtype) @ block
        ends = np.cumsum([len(weights[degree]) for degree, _ in sector.parts])
        values = jnp.split(polynomials, ends[:-1])
        for (degree, component), value in zip(sector.parts, values, strict=True):
            out[degree**2 + component] = jnp.sum(value * weights[degree], axis=0)
    joined = jnp.stack([out[i] for i in range(len(out))])
    return jnp.moveaxis(joined.reshape(-1, nodes, channels), 0, 1)


@functools.lru_cache
def _tables(degree: int, outputs: int, correlation: int) -> ContractionTables:
    """Returns the tables for polynomials of the degrees below `outputs`."""
    orders = range(1, correlation + 1)
    bases = {
        out: [symmetric_basis(degree, out, n) for n in orders] for out in range(outputs)
    }
    used = {
        (out, component): _monomials_of(bases[out], component)
        for out in bases
        for component in range(2 * out + 1)
    }
    sectors = [
        (parts, sorted(set().union(*(used[part] for part in parts))))
        for parts in _disjoint_groups(used)
    ]
    final = [monomial for _, monomials in sectors for monomial in monomials]
    # The constant, the components, and the parents of the monomials of order 3.
    powers: list[list[Monomial]] = [[()], [(i,) for i in range((degree + 1) ** 2)]]
    longest = {m[:-1] for m in final if len(m) == 3}
    powers += [sorted(longest)] if longest else []
    all_sectors = [
        Sector(parts, np.concatenate([_rows(bases[o], m, monomials) for o, m in parts]))
        for parts, monomials in sectors
    ]
    shorter = list(itertools.chain(*powers))
    lower = [_factors(b, a) for a, b in itertools.pairwise(powers[1:])]
    return ContractionTables(lower, _factors(final, shorter), all_sectors)


def _factors(monomials: list[Monomial], shorter: list[Monomial]) -> Factors:
    """Returns the factors of monomials, as indices into shorter ones."""
    index = {m: i for i, m in enumerate(shorter)}
    # int32 is valid with and without 64-bit types.
    parents = np.array([index[m[:-1]] for m in monomials], np.int32)
    return Factors(parents, np.array([m[-1] for m in monomials], np.int32))


def _monomials_of(bases: list[Polynomials], component: int) -> set[Monomial]:
    """Returns the monomials in a component of the polynomials."""
    return {
        tuple(monomial)
        for basis in bases
        for monomial, column in zip(
            basis.monomials.tolist(), basis.table[:, component].T, strict=True
        )
        if np.any(column)
    }


def _rows(
    bases: list[Polynomials], component: int, monomials: list[Monomial]
) -> np.ndarray:
    """Returns the coefficients of a component of the polynomials, one row each."""
    index = {m: i for i, m in enumerate(monomials)}
    blocks = []
    for basis in bases:
        rows = np.zeros((len(basis.table), len(monomials)))
        for monomial, column in zip(
            basis.monomials.tolist(), basis.table[:, component].T, strict=True
        ):
            if np.any(column):
                rows[:, index[tuple(monomial)]] = column
        blocks.append(rows)
    return np.concatenate(blocks)


def _disjoint_groups(
    used: dict[tuple[int, int], set[Monomial]],
) -> list[list[tuple[int, int]]]:
    """Returns groups of parts that have no monomials in common with other groups."""
    groups: list[list[tuple[int, int]]] = []
    for part, monomials in used.items():
        sharing = [g for g in groups if any(used[p] & monomials for p in g)]
        joined = [p for group in sharing for p in group]
        groups = [g for g in groups if g not in sharing] + [[*joined, part]]
    return groups
