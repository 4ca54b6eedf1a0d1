"""What every form of the attention asks of its arguments."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float


def is_traced(*arrays: object) -> bool:
    """Whether the values of any array are unknown."""
    return any(isinstance(array, Tracer) for array in arrays)


def check_arguments(
    query: Float[Array, "..."],
    key: Float[Array, "..."],
    value: Float[Array, "..."],
    positions: Float[Array, "..."],
    frequencies: Float[Array | np.ndarray, "..."],
) -> None:
    """Refuses shapes that do not belong together, naming what is wrong."""
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ValueError(
            f"`positions` has shape [atoms, 3], got {list(positions.shape)}; for a "
            "batch of structures use `jax.vmap`."
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
            "`query` and `key` have one shape, got "
            f"{list(query.shape)} and {list(key.shape)}."
        )
    if query.shape[-1] % 2:
        raise ValueError(
            "`query` and `key` hold pairs of channels, so D_qk is even, got "
            f"{query.shape[-1]}."
        )
    if frequencies.shape != (query.shape[-1] // 2,):
        raise ValueError(
            f"`frequencies` has one frequency for each of the {query.shape[-1] // 2} "
            f"pairs of channels, got shape {list(frequencies.shape)}."
        )


def without_padding(
    mask: Bool[Array, " atoms"], *arrays: Float[Array, "atoms ..."]
) -> tuple[Float[Array, "atoms ..."], ...]:
    """The arrays in their common dtype, zero on padding."""
    dtype = jnp.result_type(*arrays)
    live = lambda x: mask.reshape(-1, *[1] * (x.ndim - 1))
    return tuple(jnp.where(live(x), x, 0.0).astype(dtype) for x in arrays)


def centred(
    positions: Float[Array, "atoms 3"], mask: Bool[Array, " atoms"]
) -> Float[Array, "atoms 3"]:
    """Positions around their mean, zero on padding: phases stay small and accurate.

    Nothing depends on the origin, so no gradient passes through it.
    """
    count = jnp.maximum(jnp.sum(mask), 1).astype(positions.dtype)
    origin = jax.lax.stop_gradient(jnp.sum(positions, axis=0) / count)
    return jnp.where(mask[:, None], positions - origin, 0.0)


def check_name(argument: str, name: str, known: tuple[str, ...]) -> None:
    """Refuses a word that is not one of those an argument can be."""
    if name not in known:
        raise ValueError(f"`{argument}` is one of {known}, got {name!r}.")


def check_sizes(sizes: dict[str, int]) -> None:
    """Refuses counts below one and channels of queries that are no pairs."""
    for name, size in sizes.items():
        if size < 1 or (name == "qk" and size % 2):
            even = "even and " if name == "qk" else ""
            raise ValueError(f"`{name}` is {even}at least one, got {size}.")


def check_wave_numbers(omega_max: float, width: float) -> None:
    """Refuses a spectrum without frequencies and shells without width."""
    if not (omega_max > 0 and width > 0):
        raise ValueError(
            "`omega_max` and `width` are positive wave numbers in 1/Å, got "
            f"{omega_max} and {width}."
        )


def check_features(
    features: Float[Array, "..."],
    mask: Bool[Array, "..."] | None,
    degree: int,
    channels: int,
) -> None:
    """Refuses features that are not those of a layer, and a mask that is none."""
    atoms = features.shape[0]
    if mask is None or mask.shape != (atoms,):
        raise ValueError(
            f"`mask` is true on real atoms, shape [{atoms}] like `features`, got "
            f"{None if mask is None else list(mask.shape)}: pass "
            f"`jnp.ones({atoms}, bool)` where there is no padding."
        )
    wanted = (atoms, (degree + 1) ** 2, channels) if degree else (atoms, channels)
    if features.shape != wanted:
        raise ValueError(
            f"`features` of a layer of degree {degree} have shape {list(wanted)}, "
            f"got {list(features.shape)}."
        )


def check_plan(plan: object, wanted: type) -> None:
    """Refuses a plan of the other boundaries."""
    if plan is not None and not isinstance(plan, wanted):
        boundaries = "a cell" if wanted.__name__ == "ShellGrid" else "open boundaries"
        raise ValueError(
            f"`plan` for {boundaries} is a {wanted.__name__}, got a "
            f"{type(plan).__name__}: make one for this structure with `plan_for`."
        )
