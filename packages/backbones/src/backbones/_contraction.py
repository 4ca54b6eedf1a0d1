"""Products of an atom's messages with themselves: the many-body part of MACE."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from e3nn_jax import clebsch_gordan
from jaxtyping import Array, Float, PRNGKeyArray

from ._convolution import block

# Nodes times channels whose monomials are formed at once on a processor.
_AT_A_TIME = 1024


class Polynomials(NamedTuple):
    """Equivariant polynomials of one degree, as sums of monomials."""

    monomials: np.ndarray  # [monomials, order], ascending component indices
    table: np.ndarray  # [basis, 2 degree + 1, monomials]


@functools.lru_cache
def symmetric_basis(degree: int, out: int, order: int) -> Polynomials:
    """All polynomials of an order that turn features up to `degree` into one of `out`.

    They span the equivariant maps from the symmetric power of 0e + 1o + ... to the
    irrep `out` of natural parity. Orthonormalised over the couplings in a fixed
    sequence, so that saved weights mean the same on every machine; scaled to unit
    variance for independent normal components.

    Args:
        degree: highest degree of the factors.
        out: degree of the product.
        order: number of factors.
    """
    size = (degree + 1) ** 2
    monomials = np.array(
        list(itertools.combinations_with_replacement(range(size), order))
    )
    where = {tuple(m): i for i, m in enumerate(monomials)}
    flat = np.array(
        [where[tuple(sorted(i))] for i in itertools.product(range(size), repeat=order)]
    )
    # A symmetric tensor's norm counts a monomial once for each of its permutations.
    multiplicity = np.bincount(flat, minlength=len(monomials))
    kept: list[np.ndarray] = []
    for tensor in _couplings(degree, out, order):
        rows = np.stack(
            [
                np.bincount(flat, component.ravel(), len(monomials))
                for component in tensor
            ]
        )
        rows = rows / multiplicity**0.5
        norm = np.linalg.norm(rows)
        for _ in range(2):  # twice is enough for orthogonality to rounding
            for other in kept:
                rows = rows - np.sum(rows * other) * other
        if np.linalg.norm(rows) > 1e-6 * max(norm, 1e-3):
            kept.append(rows / np.linalg.norm(rows))
    table = np.stack(kept) * multiplicity**0.5
    table *= ((2 * out + 1) / math.factorial(order)) ** 0.5
    table[np.abs(table) < 1e-12] = 0.0
    used = np.any(table != 0, axis=(0, 1))
    return Polynomials(monomials[used], table[..., used])


def _couplings(degree: int, out: int, order: int):
    """Tensors [2 out + 1, size, ..., size] of all left-to-right couplings."""
    size = (degree + 1) ** 2
    chains = []
    for d in range(degree + 1):
        first = np.zeros((2 * d + 1, size))
        first[:, block(d)] = np.eye(2 * d + 1)
        chains.append((d, d, first))
    for step in range(1, order):
        last = step == order - 1
        grown = []
        for (a, parity, tensor), b in itertools.product(chains, range(degree + 1)):
            for c in range(abs(a - b), a + b + 1):
                if last and (c != out or (parity + b) % 2 != out % 2):
                    continue
                product = np.zeros((2 * c + 1, *tensor.shape[1:], size))
                product[..., block(b)] = np.einsum(
                    "a...,abc->c...b", tensor, clebsch_gordan(a, b, c)
                )
                grown.append((c, parity + b, product))
        chains = grown
    return [t for d, parity, t in chains if d == out and parity % 2 == out % 2]


class SymmetricContraction(eqx.Module):
    """Weighted equivariant polynomials of the messages, with weights for each element.

    B_i = sum_{order, eta} W[z_i, eta] P_eta(A_i, ..., A_i), channel by channel. Every
    distinct monomial is formed once, and one matrix product makes all polynomials.

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
        nodes, _, channels = messages.shape
        joint = _joint(self.degree, len(self.weights), self.correlation)
        form = functools.partial(_polynomials, *joint)
        polynomials = jax.lax.platform_dependent(
            messages, cpu=functools.partial(_few_at_a_time, form), default=form
        )
        start, blocks = 0, []
        for out, weight in enumerate(self.weights):
            count, width = weight.shape[1], 2 * out + 1
            part = polynomials[start : start + count * width]
            part = part.reshape(count, width, nodes, channels)
            own = jnp.einsum("nz,zpc->pnc", one_hot, weight)
            blocks.append(jnp.einsum("pnc,pmnc->nmc", own, part))
            start += count * width
        return jnp.concatenate(blocks, axis=1)


def _polynomials(
    factors: list[tuple[np.ndarray, np.ndarray]],
    table: np.ndarray,
    messages: Float[Array, "nodes sph channels"],
) -> Float[Array, "polynomials nodes channels"]:
    nodes, size, channels = messages.shape
    # Components lead, so that picking factors copies whole rows.
    rows = jnp.moveaxis(messages, 1, 0).reshape(size, -1)
    powers = [rows]
    for parents, added in factors:
        powers.append(powers[-1][parents] * rows[added])
    polynomials = jnp.asarray(table, rows.dtype) @ jnp.concatenate(powers, axis=0)
    return polynomials.reshape(-1, nodes, channels)


def _few_at_a_time(
    form: Callable[[Array], Array], messages: Float[Array, "nodes sph channels"]
) -> Float[Array, "polynomials nodes channels"]:
    """The same for few nodes after few, whose monomials stay in a processor's caches.

    They are many times as large as the messages: slopes form them again.
    """
    nodes, size, channels = messages.shape
    few = max(1, _AT_A_TIME // channels)
    turns = -(-nodes // few)
    padded = jnp.pad(messages, ((0, turns * few - nodes), (0, 0), (0, 0)))
    tiles = padded.reshape(turns, few, size, channels)
    polynomials = jax.lax.map(jax.checkpoint(form), tiles)
    joined = jnp.moveaxis(polynomials, 0, 1)
    return joined.reshape(-1, turns * few, channels)[:, :nodes]


@functools.lru_cache
def _joint(degree: int, outputs: int, correlation: int):
    """Monomials as products of shorter ones, and the table of all polynomials.

    Returns:
        For each order above the first, the (parent monomial, added component) index
        arrays; and a matrix [all polynomial components, all monomials].
    """
    size = (degree + 1) ** 2
    bases = {
        (out, n): symmetric_basis(degree, out, n)
        for out in range(outputs)
        for n in range(1, correlation + 1)
    }
    needed: dict[int, set] = {1: {(i,) for i in range(size)}}
    for n in range(correlation, 1, -1):
        own = {tuple(m) for out in range(outputs) for m in bases[out, n].monomials}
        needed[n] = own | {m[:-1] for m in needed.get(n + 1, set())}
    columns = {n: {m: i for i, m in enumerate(sorted(needed[n]))} for n in needed}
    factors = [
        (
            np.array([columns[n - 1][m[:-1]] for m in columns[n]], np.int32),
            np.array([m[-1] for m in columns[n]], np.int32),
        )
        for n in range(2, correlation + 1)
    ]
    starts = np.cumsum([0] + [len(columns[n]) for n in range(1, correlation + 1)])
    rows = []
    for out in range(outputs):
        for n in range(1, correlation + 1):
            basis = bases[out, n]
            row = np.zeros((*basis.table.shape[:2], starts[-1]))
            at = [starts[n - 1] + columns[n][tuple(m)] for m in basis.monomials]
            row[..., at] = basis.table
            rows.append(row.reshape(-1, starts[-1]))
    return factors, np.concatenate(rows)
