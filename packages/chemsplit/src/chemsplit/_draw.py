"""Drawing whole clusters or groups until a share of the samples is reached."""

import warnings

import numpy as np

# A share that misses the wanted one by more than this is worth a warning.
_TOLERANCE = 0.1


def draw_whole(
    sizes: np.ndarray, wanted: float, rng: np.random.RandomState | np.random.Generator
) -> np.ndarray:
    """Draw units in random order, cut where their total is nearest to the wanted one.

    At least one unit is drawn and at least one is left.

    Parameters
    ----------
    sizes : ndarray of shape (n_units,)
        Number of samples in each unit.
    wanted : float
        Number of samples to draw.
    rng : RandomState or Generator
        Draws the order.

    Returns
    -------
    ndarray
        Indices of the units drawn.
    """
    order = rng.permutation(len(sizes))
    totals = np.cumsum(sizes[order])[:-1]
    return order[: 1 + int(np.argmin(np.abs(totals - wanted)))]


def warn_if_poor(
    part: str, units: str, sizes: np.ndarray, achieved: float, wanted: float
) -> None:
    """Say what share whole units gave if it is far from the wanted one."""
    if abs(achieved - wanted) > _TOLERANCE:
        warnings.warn(
            f"Whole {units} gave a {part} share of {achieved:.0%} where {wanted:.0%} "
            f"was wanted: the largest of {len(sizes)} {units} holds "
            f"{sizes.max() / sizes.sum():.0%} of the samples.",
            stacklevel=3,
        )
