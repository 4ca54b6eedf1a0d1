"""Random selection of clusters or groups by their total number of samples."""

import warnings

import numpy as np

# Largest difference from the requested fraction without a warning.
_TOLERANCE = 0.1


def draw_units(
    sizes: np.ndarray,
    n_samples: float,
    rng: np.random.RandomState | np.random.Generator,
) -> np.ndarray:
    """Draw units in random order, until their total size is closest to a number.

    At least one unit is drawn and at least one is not.

    Parameters
    ----------
    sizes : ndarray of shape (n_units,)
        Number of samples in each unit.
    n_samples : float
        Requested number of samples in the units drawn.
    rng : RandomState or Generator
        Generator of the random order.

    Returns
    -------
    ndarray
        Indices of the units drawn.
    """
    order = rng.permutation(len(sizes))
    totals = np.cumsum(sizes[order])[:-1]
    return order[: 1 + int(np.argmin(np.abs(totals - n_samples)))]


def warn_if_fraction_missed(
    name: str, units: str, sizes: np.ndarray, achieved: float, requested: float
) -> None:
    """Warn if the achieved fraction is far from the requested one.

    Parameters
    ----------
    name : str
        Set that the fraction is of: "test" or "validation".
    units : str
        Plural noun for the units, such as "groups".
    sizes : ndarray of shape (n_units,)
        Number of samples in each unit.
    achieved, requested : float
        Fractions of the samples.
    """
    if abs(achieved - requested) > _TOLERANCE:
        warnings.warn(
            f"The {name} fraction is {achieved:.0%} instead of {requested:.0%}, since "
            f"{units} are not divided: the largest of {len(sizes)} {units} has "
            f"{sizes.max() / sizes.sum():.0%} of the samples.",
            stacklevel=3,
        )
