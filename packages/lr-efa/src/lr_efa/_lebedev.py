"""Lebedev grids on the sphere and the phases that they integrate accurately."""

import functools as ft
import math

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.integrate import lebedev_rule
from scipy.special import spherical_jn

_ORDERS = (*range(5, 32, 2), *range(35, 132, 6))
# Rules of SciPy with negative weights, which amplify rounding errors.
_NEGATIVE = (13, 25, 27)


class LebedevGrid(eqx.Module):
    r"""A Lebedev quadrature rule on the sphere and the largest phase it integrates.

    The rule is exact for spherical harmonics up to `order`. A plane wave
    $e^{i x\, u \cdot d}$ contains all harmonics, with coefficients
    $(2l + 1)\, i^l j_l(x)$. The error is estimated as a fraction of the first
    coefficient beyond `order`: at most a third, less for large rules, as measured over
    directions. Harmonics of `degree` in the integrand reduce the usable order by
    `degree`. All fields are static: the grid has no array leaves.

    Attributes:
        order: order of the Lebedev rule.
        accuracy: largest error of the integral of one plane wave of unit amplitude.
        degree: largest degree of the spherical harmonics that multiply the plane wave.

    Raises:
        ValueError: there is no rule of this order, or it has negative weights.
    """

    order: int = eqx.field(static=True, converter=int)
    accuracy: float = eqx.field(static=True, default=1e-5, converter=float)
    degree: int = eqx.field(static=True, default=0, converter=int)

    def __check_init__(self):
        if self.order in _NEGATIVE:
            raise ValueError(
                f"The Lebedev rule of order {self.order} has negative weights, which "
                "amplify rounding: use the next higher order, or `lebedev_grid`."
            )
        if self.order not in _ORDERS:
            raise ValueError(
                f"There is no Lebedev rule of order {self.order}, only of {_ORDERS}: "
                "use `lebedev_grid`, which selects the order."
            )
        if not 0 < self.accuracy < 0.1 or self.degree < 0:
            raise ValueError(
                "`accuracy` is an error between 0 and 0.1 and `degree` is not "
                f"negative, got {self.accuracy} and {self.degree}."
            )

    @property
    def points(self) -> Float[np.ndarray, "points 3"]:
        """Points of the rule, unit vectors."""
        return _rule(self.order)[0]

    @property
    def weights(self) -> Float[np.ndarray, " points"]:
        """Weights of the points, positive, with sum one."""
        return _rule(self.order)[1]

    @property
    def max_phase(self) -> float:
        r"""Largest phase $x = \omega r$ that is integrated to `accuracy`."""
        return _max_phase(self.order - self.degree, self.accuracy)

    def half_sphere(
        self,
    ) -> tuple[Float[np.ndarray, "half 3"], Float[np.ndarray, " half"]]:
        """Returns one of each pair of opposite points, with the weight of both."""
        signs = np.sign(np.round(self.points, 9))
        in_half = signs @ np.array([4.0, 2.0, 1.0]) > 0
        return self.points[in_half], 2 * self.weights[in_half]

    def __len__(self) -> int:
        return len(self.weights)


def lebedev_grid(
    max_phase: float, accuracy: float = 1e-5, *, degree: int = 0
) -> LebedevGrid:
    r"""The smallest Lebedev grid that integrates phases up to `max_phase`.

    Args:
        max_phase: largest phase $x = \omega_{max} r$, where r is twice the largest
            distance of an atom from the centroid; forces reach the accuracy of energies
            if it is $0.12\,\pi$ larger.
        accuracy: error of the integral of one plane wave of unit amplitude.
        degree: largest degree of the spherical harmonics in the integrand.

    Returns:
        A grid without negative weights.

    Raises:
        ValueError: `max_phase` is negative or exceeds that of the largest grid.

    References:
        Lebedev and Laikov, Doklady Mathematics 59, 477 (1999).
    """
    if not max_phase >= 0:
        raise ValueError(f"`max_phase` must not be negative, got {max_phase}.")
    usable = [order for order in _ORDERS if order not in _NEGATIVE]
    for order in usable:
        if (grid := LebedevGrid(order, accuracy, degree)).max_phase >= max_phase:
            return grid
    largest = LebedevGrid(usable[-1], accuracy, degree).max_phase
    raise ValueError(
        f"No Lebedev grid integrates phases up to {max_phase:.1f} to {accuracy}: the "
        f"`max_phase` of the largest is {largest:.1f}. Lower the highest frequency, "
        'use `method="exact"`, or the periodic form for a crystal.'
    )


def frequency_grid(num_pairs: int, omega_max: float) -> Float[np.ndarray, " pairs"]:
    r"""Equally spaced frequencies $\omega_k$ from zero to `omega_max`, 1/Å.

    Published models of molecules use `omega_max` $= \pi / r_{max}$ with the extent
    $r_{max}$ of the largest structure. Crystals need reciprocal lattice vectors with
    lengths near the frequencies: there `omega_max` is a hyperparameter, near 2 per Å,
    that does not depend on the cell.

    Args:
        num_pairs: number of channel pairs, half of the size of query and key.
        omega_max: highest frequency, 1/Å.

    Raises:
        ValueError: `num_pairs` is below one or `omega_max` is negative.
    """
    if num_pairs < 1 or not omega_max >= 0:
        raise ValueError(
            "`num_pairs` is at least one and `omega_max` is not negative, got "
            f"{num_pairs} and {omega_max}."
        )
    return np.linspace(0.0, omega_max, num_pairs)


@ft.cache
def _rule(order: int) -> tuple[np.ndarray, np.ndarray]:
    points, weights = lebedev_rule(order)
    points, weights = np.ascontiguousarray(points.T), weights / (4 * math.pi)
    points.setflags(write=False)
    weights.setflags(write=False)
    return points, weights


@ft.cache
def _max_phase(order: int, accuracy: float) -> float:
    """Phase at which the error from the first degree beyond `order` is `accuracy`."""
    if order < 1:
        return 0.0
    first = order + 1
    fraction = min(1 / 3, 3.3 / first)
    low, high = 0.0, float(first)
    for _ in range(50):
        x = (low + high) / 2
        error = (2 * first + 1) * float(spherical_jn(first, x)) * fraction
        low, high = (low, x) if error > accuracy else (x, high)
    return low


def extent(
    positions: Float[Array | np.ndarray, "*graphs atoms 3"],
    mask: Bool[Array | np.ndarray, "*graphs atoms"],
) -> Float[np.ndarray, "*graphs"]:
    """Returns twice the largest distance of a real atom from the centroid, Å.

    An upper bound of the largest interatomic distance. Runs on the host; NaN if a
    position is not finite.
    """
    real = np.asarray(mask, bool)[..., None]
    coordinates = np.where(real, np.asarray(positions, np.float64), 0.0)
    coordinates = np.where(np.isfinite(coordinates), coordinates, np.nan)
    count = np.maximum(real.sum(axis=-2, keepdims=True), 1)
    centered = coordinates - coordinates.sum(axis=-2, keepdims=True) / count
    squared = np.sum(np.where(real, centered, 0.0) ** 2, axis=-1)
    return np.asarray(2 * np.sqrt(squared.max(axis=-1, initial=0.0)))
