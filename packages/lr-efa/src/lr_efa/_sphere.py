"""Lebedev grids on the sphere: which one resolves how fast a phase."""

import functools as ft
import math

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.integrate import lebedev_rule
from scipy.special import spherical_jn

_ORDERS = (*range(5, 32, 2), *range(35, 132, 6))
# Rules of scipy with negative weights, which amplify rounding.
_NEGATIVE = (13, 25, 27)


class SphereGrid(eqx.Module):
    r"""A Lebedev rule and the phases that it integrates; static, it has no arrays.

    The rule is exact for spherical harmonics up to `order`. A plane wave
    $e^{i x\, u \cdot d}$ has components $(2l + 1)\, i^l j_l(x)$ in all of them; the
    first one that the rule misses, in part, is the error that is promised: at most a
    third of it, less for large rules, as measured over directions. With harmonics of
    `degree` in the integrand that component comes so much earlier.

    Attributes:
        order: of the Lebedev rule.
        accuracy: largest error of the integral of one plane wave.
        degree: of the spherical harmonics that multiply the plane wave.

    Raises:
        ValueError: there is no such rule, or it has negative weights.
    """

    order: int = eqx.field(static=True, converter=int)
    accuracy: float = eqx.field(static=True, default=1e-5, converter=float)
    degree: int = eqx.field(static=True, default=0, converter=int)

    def __check_init__(self):
        if self.order in _NEGATIVE:
            raise ValueError(
                f"The Lebedev rule of order {self.order} has negative weights, which "
                "amplify rounding: use the next higher order, or `lebedev`."
            )
        if self.order not in _ORDERS:
            raise ValueError(
                f"There is no Lebedev rule of order {self.order}, only of {_ORDERS}: "
                "let `lebedev` choose."
            )
        if not 0 < self.accuracy < 0.1 or self.degree < 0:
            raise ValueError(
                "`accuracy` is an error between 0 and 0.1 and `degree` is not "
                f"negative, got {self.accuracy} and {self.degree}."
            )

    @property
    def points(self) -> Float[np.ndarray, "points 3"]:
        """Unit vectors."""
        return _rule(self.order)[0]

    @property
    def weights(self) -> Float[np.ndarray, " points"]:
        """Positive, with sum one."""
        return _rule(self.order)[1]

    @property
    def reach(self) -> float:
        r"""Largest phase difference $x = \omega r$ integrated to `accuracy`."""
        return _reach(self.order - self.degree, self.accuracy)

    def half(self) -> tuple[Float[np.ndarray, "half 3"], Float[np.ndarray, " half"]]:
        """One of each pair of opposite points, with the weight of both."""
        first = np.array([4.0, 2.0, 1.0])
        chosen = np.sign(np.round(self.points, 9)) @ first > 0
        return self.points[chosen], 2 * self.weights[chosen]

    def __len__(self) -> int:
        return len(self.weights)


def lebedev(x_max: float, accuracy: float = 1e-5, *, degree: int = 0) -> SphereGrid:
    r"""The smallest Lebedev grid that integrates phases up to `x_max`.

    Args:
        x_max: largest phase difference $\omega_{max} r$, with r twice the largest
            distance of an atom from the centroid; forces are as accurate as energies
            with $0.12\,\pi$ more.
        accuracy: error of the integral of one plane wave of unit amplitude.
        degree: of the spherical harmonics in the integrand.

    Returns:
        A grid without negative weights.

    Raises:
        ValueError: no grid reaches so far.

    References:
        Lebedev and Laikov, Doklady Mathematics 59, 477 (1999).
    """
    if not x_max >= 0:
        raise ValueError(f"`x_max` is a phase and not negative, got {x_max}.")
    usable = [order for order in _ORDERS if order not in _NEGATIVE]
    for order in usable:
        if (grid := SphereGrid(order, accuracy, degree)).reach >= x_max:
            return grid
    largest = SphereGrid(usable[-1], accuracy, degree).reach
    raise ValueError(
        f"No Lebedev grid integrates phases up to x = {x_max:.1f} to {accuracy}: the "
        f"largest reaches {largest:.1f}. Lower the highest frequency, use "
        '`method="exact"`, or the periodic form for a crystal.'
    )


def frequencies(pairs: int, highest: float) -> Float[np.ndarray, " pairs"]:
    r"""Equally spaced frequencies $\omega_k$ from zero to `highest`, 1/Å.

    Published models of molecules use `highest` $= \pi / r_{max}$ with the extent
    $r_{max}$ of the largest structure. Crystals need vectors of the reciprocal lattice
    within reach, so there it is a property of the physics, near 2 per Å, never of the
    cell.

    Args:
        pairs: of channels, half of the width of query and key.
        highest: 1/Å.

    Raises:
        ValueError: no pairs, or a negative frequency.
    """
    if pairs < 1 or not highest >= 0:
        raise ValueError(
            "`frequencies` needs at least one pair and a highest frequency that is not "
            f"negative, got {pairs} and {highest}."
        )
    return np.linspace(0.0, highest, pairs)


@ft.cache
def _rule(order: int) -> tuple[np.ndarray, np.ndarray]:
    points, weights = lebedev_rule(order)
    points, weights = np.ascontiguousarray(points.T), weights / (4 * math.pi)
    points.setflags(write=False)
    weights.setflags(write=False)
    return points, weights


@ft.cache
def _reach(order: int, accuracy: float) -> float:
    """Where the part of the first component beyond `order` grows to `accuracy`."""
    if order < 1:
        return 0.0
    first = order + 1
    part = min(1 / 3, 3.3 / first)
    low, high = 0.0, float(first)
    for _ in range(50):
        x = (low + high) / 2
        error = (2 * first + 1) * float(spherical_jn(first, x)) * part
        low, high = (low, x) if error > accuracy else (x, high)
    return low


def extent(
    positions: Float[Array | np.ndarray, "*graphs atoms 3"],
    mask: Bool[Array | np.ndarray, "*graphs atoms"],
) -> Float[np.ndarray, "*graphs"]:
    """Twice the largest distance from the centroid of the real atoms, Å.

    No two atoms are farther apart. On the host; NaN where a position is not finite.
    """
    live = np.asarray(mask, bool)[..., None]
    places = np.where(live, np.asarray(positions, np.float64), 0.0)
    places = np.where(np.isfinite(places), places, np.nan)
    count = np.maximum(live.sum(axis=-2, keepdims=True), 1)
    apart = places - places.sum(axis=-2, keepdims=True) / count
    squared = np.sum(np.where(live, apart, 0.0) ** 2, axis=-1)
    return np.asarray(2 * np.sqrt(squared.max(axis=-1, initial=0.0)))
