"""Checks of a layer's settings and of the shapes of its arguments."""

from jaxtyping import Array, Bool, Float, Int

from ._lattice import check_mask, check_positions

SOLVERS = ("dense", "iterative", "auto")


def check_settings(channels: int, energy: str, solver: str) -> None:
    """Raises ValueError for settings that are out of range or none of the choices."""
    if channels < 1:
        raise ValueError(f"`channels` is at least 1, got {channels}.")
    if energy not in ("coulomb", "total"):
        raise ValueError(f'`energy` is "coulomb" or "total", got {energy!r}.')
    if solver not in SOLVERS:
        raise ValueError(f'`solver` is "dense", "iterative" or "auto", got {solver!r}.')


def check_inputs(
    features: Float[Array, "..."],
    positions: Float[Array, "..."],
    mask: Bool[Array, "..."] | None,
    species: Int[Array, "..."],
    channels: int,
) -> None:
    """Raises ValueError if shapes are inconsistent.

    Args:
        features: scalars, `[atoms, channels]`.
        positions: `[atoms, 3]`, Å.
        mask: false on padding, `[atoms]`.
        species: atomic numbers, `[atoms]`.
        channels: number of scalars per atom that the layer was made for.
    """
    check_positions(positions)
    atoms = positions.shape[0]
    check_mask(mask, atoms)
    shapes = {
        "features": (features, (atoms, channels)),
        "species": (species, (atoms,)),
    }
    for name, (array, shape) in shapes.items():
        if array.shape != shape:
            raise ValueError(
                f"`{name}` of {atoms} atoms for a layer of {channels} channels has "
                f"shape {list(shape)}, got {list(array.shape)}."
            )
