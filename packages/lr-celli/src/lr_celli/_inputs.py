"""What the layers ask of their arguments, before anything is computed."""

from jaxtyping import Array, Bool, Float, Int


def check_inputs(
    features: Float[Array, "..."],
    positions: Float[Array, "..."],
    mask: Bool[Array, "..."] | None,
    species: Int[Array, "..."],
    channels: int,
) -> None:
    """Refuses shapes that do not belong together, naming what is wrong.

    Args:
        features: scalars.
        positions: Å.
        mask: false on padding.
        species: atomic numbers.
        channels: that the layer was made for.
    """
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ValueError(
            f"`positions` has shape [atoms, 3], got {list(positions.shape)}; for a "
            "batch of structures use `jax.vmap`."
        )
    atoms = positions.shape[0]
    if mask is None:
        raise ValueError(
            f"`mask` is true on real atoms, shape [{atoms}], got None: pass "
            f"`jnp.ones({atoms}, bool)` where there is no padding."
        )
    shapes = {
        "features": (features, (atoms, channels)),
        "mask": (mask, (atoms,)),
        "species": (species, (atoms,)),
    }
    for name, (array, shape) in shapes.items():
        if array.shape != shape:
            raise ValueError(
                f"`{name}` of {atoms} atoms for a layer of {channels} channels has "
                f"shape {list(shape)}, got {list(array.shape)}."
            )
