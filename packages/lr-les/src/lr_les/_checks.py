"""Checks of the numbers that a plan is made from, and of a layer's inputs."""

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from ._lattice import check_mask, concrete_cells


def check_positive(name: str, meaning: str, value: float) -> None:
    """Raises a ValueError unless the number is positive."""
    if not value > 0:
        raise ValueError(f"`{name}` is a {meaning} and must be positive, got {value}.")


def check_plan_settings(
    sigma: float, tolerance: float, dl: float | None, margin: float
) -> None:
    """Raises a ValueError where a setting of a plan is out of its range."""
    check_positive("sigma", "width", sigma)
    if not 1e-15 <= tolerance <= 0.1:
        raise ValueError(
            f"`tolerance` is a relative error between 1e-15 and 0.1, got {tolerance}."
        )
    if dl is not None:
        check_positive("dl", "wavelength", dl)
    if not margin >= 0:
        raise ValueError(
            f"`margin` is a strain and must not be negative, got {margin}."
        )


def check_permittivity(eps_inf: float | Float[Array, ""]) -> None:
    """Raises a ValueError unless the number is positive or an array."""
    if not isinstance(eps_inf, jax.Array) and not eps_inf > 0:
        raise ValueError(f"`eps_inf` must be positive, got {eps_inf}.")


def cells_of_structures(
    cells: Float[Array | np.ndarray, "..."], positions: Float[Array | np.ndarray, "..."]
) -> np.ndarray:
    """Returns the cells in float64; raises a ValueError if positions do not fit."""
    checked = concrete_cells(
        cells, "`lattice_plan(cells, positions)` or `layer.plan_for(...)`"
    )
    if positions.ndim != checked.ndim or positions.shape[:-2] != checked.shape[:-2]:
        raise ValueError(
            "`positions` has shape [atoms, 3] for a cell [3, 3] and [graphs, slots, 3] "
            f"for cells [graphs, 3, 3], got {list(positions.shape)} for cells of shape "
            f"{list(checked.shape)}."
        )
    return checked


def check_layer_settings(
    channels: int,
    charge_channels: int,
    multipoles: int,
    method: str,
    dl: float | None,
) -> None:
    """Raises a ValueError where a setting of the layer is none of its choices."""
    if channels < 1 or charge_channels < 1:
        raise ValueError(
            "`channels` and `charge_channels` are at least 1, got "
            f"{channels} and {charge_channels}."
        )
    if multipoles not in (0, 1, 2):
        raise ValueError(
            "`multipoles` is 0 (charges), 1 (with dipoles) or 2 (with "
            f"quadrupoles), got {multipoles}."
        )
    if method not in ("auto", "direct", "mesh") or (
        method == "mesh" and dl is not None
    ):
        raise ValueError(
            "`method` is 'auto', 'direct' or 'mesh', the last without `dl`, got "
            f"{method!r} and dl={dl}."
        )


def check_features(
    features: Float[Array, "..."],
    mask: Bool[Array, "..."] | None,
    degree: int,
    channels: int,
) -> None:
    """Raises a ValueError where features or mask do not fit the layer."""
    atoms = features.shape[0]
    expected = (atoms, (degree + 1) ** 2, channels) if degree else (atoms, channels)
    if features.shape != expected:
        is_batch = features.ndim > len(expected)
        advice = "; for a batch of structures use `jax.vmap`" if is_batch else ""
        raise ValueError(
            f"`features` of degree {degree} and {channels} channels have "
            f"shape {list(expected)}, got {list(features.shape)}{advice}."
        )
    check_mask(mask, atoms)
