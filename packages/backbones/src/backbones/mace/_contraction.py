"""Products of an atom's messages with themselves: the many-body part of MACE."""

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

# Nodes times channels whose monomials are formed at once on a processor.
_AT_A_TIME = 1024


class SymmetricContraction(eqx.Module):
    """Weighted equivariant polynomials of the messages, with weights for each element.

    B_i = sum_{order, eta} W[z_i, eta] P_eta(A_i, ..., A_i), channel by channel. Every
    distinct monomial is formed once, and a few matrix products make all polynomials.

    Args:
        degree: highest degree of the messages.
        out_degree: highest degree of the result.
        correlation: highest order of the polynomials.
        elements: number of elements.
        channels: width.
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
            draw = jr.normal(k, (elements, count, channels))
            weights.append(draw * count**-0.5)
        self.weights = tuple(weights)

    def __call__(
        self,
        messages: Float[Array, "nodes sph channels"],
        one_hot: Float[Array, "nodes elements"],
    ) -> Float[Array, "nodes outputs channels"]:
        """Returns the products, of degree 0 to `out_degree`."""
        own = [jnp.einsum("nz,zpc->npc", one_hot, weight) for weight in self.weights]
        form = functools.partial(
            _products, _plan(self.degree, len(self.weights), self.correlation)
        )
        few = max(1, _AT_A_TIME // messages.shape[-1])
        return in_tiles(form, (), (messages, own), few)


class Factors(NamedTuple):
    """Monomials as products of shorter ones with one more component."""

    parents: np.ndarray  # [monomials], places of the shorter ones
    added: np.ndarray  # [monomials]

    def of(
        self,
        shorter: Float[Array, "parents lanes"],
        components: Float[Array, "sph lanes"],
    ) -> Float[Array, "monomials lanes"]:
        """Returns the products."""
        # A product with a matrix of zeros and ones: its slope is one too, where the
        # slope of a gather adds row by row.
        chosen = jnp.asarray(np.eye(len(components))[self.added], components.dtype)
        picked = jnp.matmul(chosen, components, precision=jax.lax.Precision.HIGHEST)
        return shorter[self.parents] * picked


class Sector(NamedTuple):
    """Components of polynomials that share monomials with each other alone.

    A reflection of an axis turns the sign of a component or leaves it, and does the
    same to each of its monomials. So the table of all polynomials falls into blocks.
    """

    parts: list[tuple[int, int]]  # (degree, component) of the polynomials, in turn
    table: np.ndarray  # [polynomials, monomials]


class Plan(NamedTuple):
    """How to make all polynomials."""

    lower: list[Factors]  # above order one and below the highest, of the order before
    monomials: Factors  # of all sectors in turn, of one and all that are lower
    sectors: list[Sector]


def _products(
    plan: Plan,
    shared: tuple[()],
    messages: Float[Array, "nodes sph channels"],
    weights: list[Float[Array, "nodes _ channels"]],
) -> Float[Array, "nodes outputs channels"]:
    """Sums of the messages' polynomials with each node's weights, by degree."""
    del shared
    nodes, _, channels = messages.shape
    # Components lead, so that one matrix serves all nodes and channels.
    leading = lambda x: jnp.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    components, weights = leading(messages), [leading(w) for w in weights]
    powers = [jnp.ones_like(components[:1]), components]
    for factors in plan.lower:
        powers.append(factors.of(powers[-1], components))
    monomials = plan.monomials.of(jnp.concatenate(powers), components)
    ends = np.cumsum([sector.table.shape[1] for sector in plan.sectors])
    out = {}
    for sector, own in zip(plan.sectors, jnp.split(monomials, ends[:-1]), strict=True):
        polynomials = jnp.asarray(sector.table, own.dtype) @ own
        ends = np.cumsum([len(weights[degree]) for degree, _ in sector.parts])
        values = jnp.split(polynomials, ends[:-1])
        for (degree, component), value in zip(sector.parts, values, strict=True):
            out[degree**2 + component] = jnp.sum(value * weights[degree], axis=0)
    joined = jnp.stack([out[i] for i in range(len(out))])
    return jnp.moveaxis(joined.reshape(-1, nodes, channels), 0, 1)


@functools.lru_cache
def _plan(degree: int, outputs: int, correlation: int) -> Plan:
    """For polynomials of the degrees below `outputs`, up to an order."""
    orders = range(1, correlation + 1)
    bases = {
        out: [symmetric_basis(degree, out, n) for n in orders] for out in range(outputs)
    }
    used = {
        (out, component): _used(bases[out], component)
        for out in bases
        for component in range(2 * out + 1)
    }
    sectors = [
        (parts, sorted(set().union(*(used[part] for part in parts))))
        for parts in _apart(used)
    ]
    final = [monomial for _, monomials in sectors for monomial in monomials]
    # One, all components, and the parents of longer monomials.
    powers: list[list[Monomial]] = [[()], [(i,) for i in range((degree + 1) ** 2)]]
    longest = {m[:-1] for m in final if len(m) == 3}
    powers += [sorted(longest)] if longest else []
    tables = [
        Sector(parts, np.concatenate([_rows(bases[o], m, monomials) for o, m in parts]))
        for parts, monomials in sectors
    ]
    before = itertools.chain(*powers)
    lower = [_factors(b, a) for a, b in itertools.pairwise(powers[1:])]
    return Plan(lower, _factors(final, list(before)), tables)


def _factors(monomials: list[Monomial], shorter: list[Monomial]) -> Factors:
    where = {m: i for i, m in enumerate(shorter)}
    # Half-width indices serve programs of either precision.
    parents = np.array([where[m[:-1]] for m in monomials], np.int32)
    return Factors(parents, np.array([m[-1] for m in monomials], np.int32))


def _used(bases: list[Polynomials], component: int) -> set[Monomial]:
    """The monomials in a component of some polynomials."""
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
    """A component of polynomials as sums of the monomials given: one row each."""
    where = {m: i for i, m in enumerate(monomials)}
    blocks = []
    for basis in bases:
        rows = np.zeros((len(basis.table), len(monomials)))
        for monomial, column in zip(
            basis.monomials.tolist(), basis.table[:, component].T, strict=True
        ):
            if np.any(column):
                rows[:, where[tuple(monomial)]] = column
        blocks.append(rows)
    return np.concatenate(blocks)


def _apart(used: dict[tuple[int, int], set[Monomial]]) -> list[list[tuple[int, int]]]:
    """Groups of parts whose monomials are in no other group."""
    groups: list[list[tuple[int, int]]] = []
    for part, own in used.items():
        met = [group for group in groups if any(used[p] & own for p in group)]
        joined = [p for group in met for p in group]
        groups = [g for g in groups if g not in met] + [[*joined, part]]
    return groups
