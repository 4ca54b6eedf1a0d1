"""Argument checks that all forms of the attention share, and masking."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from ._lattice import check_mask, check_positions


class Features(NamedTuple):
    """Queries, keys and values of every atom."""

    query: Float[Array, " atoms *sph qk"]
    key: Float[Array, " atoms *sph qk"]
    value: Float[Array, " atoms *components v"]


def is_traced(*arrays: object) -> bool:
    """Returns whether any argument is a JAX tracer."""
    return any(isinstance(array, Tracer) for array in arrays)


def check_arguments(
    query: Float[Array, "..."],
    key: Float[Array, "..."],
    value: Float[Array, "..."],
    positions: Float[Array, "..."],
    frequencies: Float[Array | np.ndarray, "..."],
    mask: Bool[Array, "..."] | None,
) -> None:
    """Raises a ValueError where shapes do not fit together."""
    check_positions(positions)
    if mask is not None:
        check_mask(mask, positions.shape[0])
    if query.ndim not in (2, 3):
        raise ValueError(
            "`query` has shape [atoms, channels] or [atoms, components, channels], got "
            f"{list(query.shape)}; for several heads use `jax.vmap`."
        )
    names = {"query": query, "key": key, "value": value}
    for name, array in names.items():
        if array.ndim != query.ndim or array.shape[0] != positions.shape[0]:
            raise ValueError(
                f"`{name}` has one row for each of the {positions.shape[0]} atoms and "
                f"as many axes as `query` ({query.ndim}), got {list(array.shape)}; for "
                "several heads use `jax.vmap`."
            )
    if query.shape != key.shape:
        raise ValueError(
            "`query` and `key` have the same shape, got "
            f"{list(query.shape)} and {list(key.shape)}."
        )
    if query.shape[-1] % 2:
        raise ValueError(
            "`query` and `key` consist of pairs of channels, so D_qk is even, got "
            f"{query.shape[-1]}."
        )
    if frequencies.shape != (query.shape[-1] // 2,):
        raise ValueError(
            f"`frequencies` has one frequency for each of the {query.shape[-1] // 2} "
            f"pairs of channels, got shape {list(frequencies.shape)}."
        )


def zero_padding(
    mask: Bool[Array, " atoms"], *arrays: Float[Array, "atoms ..."]
) -> tuple[Float[Array, "atoms ..."], ...]:
    """Returns the arrays in their common dtype, zero on padding."""
    dtype = jnp.result_type(*arrays)
    row_mask = lambda x: mask.reshape(-1, *[1] * (x.ndim - 1))
    return tuple(jnp.where(row_mask(x), x, 0.0).astype(dtype) for x in arrays)


def centered(
    positions: Float[Array, "atoms 3"], mask: Bool[Array, " atoms"]
) -> Float[Array, "atoms 3"]:
    """Returns positions relative to their mean, zero on padding.

    Small coordinates give small, accurate phases. The attention does not depend on the
    origin, so gradients do not flow through the mean.
    """
    count = jnp.maximum(jnp.sum(mask), 1).astype(positions.dtype)
    origin = jax.lax.stop_gradient(jnp.sum(positions, axis=0) / count)
    return jnp.where(mask[:, None], positions - origin, 0.0)


def check_choice(argument: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises a ValueError if `value` is not one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{argument}` is one of {choices}, got {value!r}.")


def check_sizes(**sizes: int) -> None:
    """Raises a ValueError for a size below one or an odd size of queries and keys."""
    for name, size in sizes.items():
        if size < 1 or (name == "qk_size" and size % 2):
            even = "even and " if name == "qk_size" else ""
            raise ValueError(f"`{name}` is {even}at least one, got {size}.")


def check_degree(degree: int) -> None:
    """Raises a ValueError for a degree without spherical harmonics in e3nn."""
    if not 0 <= degree <= 11:
        raise ValueError(f"`degree` is between 0 and 11, got {degree}.")


def check_layer_choices(method: str, boundary: str, normalize: str) -> None:
    """Raises a ValueError if a setting of the layer is none of its choices."""
    check_choice("method", method, ("auto", "exact", "quadrature"))
    check_choice("boundary", boundary, ("cell", "ignore"))
    check_choice("normalize", normalize, ("periodic", "always", "never"))


def check_wave_numbers(omega_max: float, shell_thickness: float) -> None:
    """Raises a ValueError unless both wave numbers are positive."""
    if not (omega_max > 0 and shell_thickness > 0):
        raise ValueError(
            "`omega_max` and `shell_thickness` are positive wave numbers in 1/Å, got "
            f"{omega_max} and {shell_thickness}."
        )


def check_features(
    features: Float[Array, "..."],
    positions: Float[Array, "..."],
    mask: Bool[Array, "..."] | None,
    degree: int,
    channels: int,
) -> None:
    """Raises a ValueError where features, positions or mask do not fit the layer."""
    check_positions(positions)
    atoms = features.shape[0]
    expected = (atoms, (degree + 1) ** 2, channels) if degree else (atoms, channels)
    if features.shape != expected:
        is_batch = features.ndim > len(expected)
        advice = "; for a batch of structures use `jax.vmap`" if is_batch else ""
        raise ValueError(
            f"`features` of a layer of degree {degree} have shape {list(expected)}, "
            f"got {list(features.shape)}{advice}."
        )
    check_mask(mask, atoms)


def wrong_plan(plan: object, expected: type, cell: str) -> str:
    """Returns the message for a plan of other boundary conditions."""
    name, got = expected.__name__, type(plan).__name__
    with_article = lambda noun: f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"
    return (
        f"`plan` for `cell={cell}` is {with_article(name)}, got {with_article(got)}: "
        f"make one for this structure with `{name}.for_structures(...)` or "
        f"`layer.plan({cell}, ...)`."
    )
