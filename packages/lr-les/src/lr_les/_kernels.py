"""Pair interactions: Coulomb, 1/r⁶ or a sum of Gaussians."""

import abc
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._incomplete_gamma import gaussian_moments

COULOMB_CONSTANT = 14.399645
r"""$k_e = 1/(4\pi\epsilon_0)$, eV Å/e²."""


class AbstractKernel(eqx.Module):
    r"""An interaction $K(r)$ of smeared atoms and its Fourier transform $\phi(k)$.

    All transforms decay like $e^{-\sigma^2 k^2/2}$ or faster, so that one plan is
    sufficient for all kernels.

    Attributes:
        power: power of $k$ by which the tail of $k^2 \phi(k)$ may exceed that Gaussian.
    """

    power: ClassVar[int]

    @abc.abstractmethod
    def radial(
        self, r_squared: Float[Array, "*pairs"], sigma: Float[Array, ""], order: int
    ) -> list[Float[Array, "*pairs"]]:
        r"""Returns $B_0 = K$ and $B_{n+1} = -B_n'(r)/r$ up to `order`; $r^2$ in Å²."""

    @abc.abstractmethod
    def fourier_transform(
        self, k_squared: Float[Array, "*vectors"], sigma: Float[Array, ""]
    ) -> Float[Array, "*vectors"]:
        r"""Returns $\phi$, the integral of $K(r) e^{ik \cdot r}$; $k^2 > 0$ in 1/Å²."""

    @abc.abstractmethod
    def fourier_at_zero(self, sigma: Float[Array, ""]) -> Float[Array, ""]:
        r"""Returns the value used for $\phi(0)$ in a periodic sum."""


class Coulomb(AbstractKernel):
    r"""The Coulomb interaction of Gaussian charges.

    $$ K(r) = k_e \frac{\operatorname{erf}(r/(\sqrt2 \sigma))}{r}, \qquad
       \phi(k) = \frac{4\pi k_e}{k^2} e^{-\sigma^2 k^2/2}, $$

    Periodic sums omit $k = 0$, which is a neutralizing background.

    Attributes:
        constant: $k_e$, eV Å/e².
    """

    power: ClassVar[int] = 0
    constant: float = eqx.field(static=True, default=COULOMB_CONSTANT, converter=float)

    def radial(self, r_squared, sigma, order):
        """Returns $B_n$ from the Boys functions, eV/e² Å⁻²ⁿ."""
        moments = gaussian_moments(0.5, r_squared / (2 * sigma**2), order)
        scale = self.constant / math.sqrt(2 * math.pi)
        return [scale * g / sigma ** (2 * n + 1) for n, g in enumerate(moments)]

    def fourier_transform(self, k_squared, sigma):
        r"""Returns $\phi(k)$, eV Å³/e²."""
        decay = jnp.exp(-0.5 * sigma**2 * k_squared)
        return 4 * math.pi * self.constant * decay / k_squared

    def fourier_at_zero(self, sigma):
        """Returns zero: periodic sums omit k = 0."""
        return jnp.zeros_like(sigma)


class InverseSixth(AbstractKernel):
    r"""$1/r^6$ interaction of dispersion, damped at short distances.

    $$ K(r) = \frac{1 - e^{-y}(1 + y + y^2/2)}{r^6}, \qquad
       y = \eta^2 r^2, \quad \eta = \frac{1}{\sqrt2\sigma}, $$
    $$ \phi(k) = \frac{2\pi^{3/2}\eta^3}{3} \left[ \sqrt\pi\, b^3 \operatorname{erfc} b
       + \left(\tfrac12 - b^2\right) e^{-b^2} \right], \qquad b = \frac{k}{2\eta}. $$

    The unit of the charges is then √eV Å³. Charges of equal sign repel: dispersion is
    minus this energy. Periodic sums include the $k = 0$ term,
    $\phi(0) = \pi^{3/2}\eta^3/3$, and converge for any charges.
    """

    power: ClassVar[int] = 2

    def radial(self, r_squared, sigma, order):
        """Returns $B_n$ of the damped $1/r^6$, Å⁻⁶⁻²ⁿ."""
        moments = gaussian_moments(3.0, r_squared / (2 * sigma**2), order)
        return [g / (16 * sigma ** (2 * n + 6)) for n, g in enumerate(moments)]

    def fourier_transform(self, k_squared, sigma):
        r"""Returns $\phi(k)$, Å⁻³."""
        b2 = 0.5 * sigma**2 * k_squared
        b = jnp.sqrt(b2)
        tail = math.sqrt(math.pi) * b * b2 * jax.scipy.special.erfc(b)
        return 2 * self.fourier_at_zero(sigma) * (tail + (0.5 - b2) * jnp.exp(-b2))

    def fourier_at_zero(self, sigma):
        r"""Returns $\pi^{3/2} \eta^3/3$, Å⁻³."""
        return (math.pi / 2) ** 1.5 / (3 * sigma**3)


class GaussianSum(AbstractKernel):
    r"""Trainable sum of Gaussians, all wider than `sigma`.

    $$ K(r) = \sum_m A_m e^{-r^2/(2 s_m^2)}, \qquad s_m = \sigma (1 +
       \operatorname{softplus} x_m), $$

    so that a plan made for `sigma` remains sufficient during training. Periodic sums
    include the $k = 0$ term: they are the sum over all images.

    Attributes:
        amplitudes: $A_m$, eV/e².
        raw_widths: $x_m$, dimensionless.

    References:
        Ji, Liang and Xu, arXiv:2502.04668.
    """

    power: ClassVar[int] = 2
    amplitudes: Float[Array, " terms"]
    raw_widths: Float[Array, " terms"]

    def __init__(
        self,
        amplitudes: Float[Array | np.ndarray, " terms"],
        widths: Float[Array | np.ndarray, " terms"],
    ):
        """Initializes amplitudes and widths.

        Args:
            amplitudes: initial amplitudes, eV/e².
            widths: initial widths in units of `sigma`, above one.

        Raises:
            ValueError: a width is not above one.
        """
        widths = np.asarray(widths, np.float64)
        if not np.all(widths > 1):
            raise ValueError(
                "`widths` are in units of `sigma` and must be above one, got "
                f"{widths.tolist()}: make `sigma` smaller."
            )
        self.amplitudes = jnp.asarray(amplitudes)
        excess = widths - 1
        self.raw_widths = jnp.asarray(excess + np.log(-np.expm1(-excess)))

    @classmethod
    def like_coulomb(cls, num_terms: int, *, base: float = 2.0) -> "GaussianSum":
        r"""Returns Gaussians that sum to approximately $k_e/r$ at long range.

        Their widths are a geometric series.

        $$ \frac1r \approx \frac{2 \ln b}{\sqrt{2\pi}\, s} \sum_m b^{-m}
           e^{-r^2/(2 s^2 b^{2m})} $$

        is valid between the smallest width, 1.1 `sigma`, and the largest one, up to a
        constant. It is intended for `sigma` = 1 Å; another `sigma` rescales $1/r$.

        Args:
            num_terms: number of Gaussians.
            base: $b$, the ratio of subsequent widths; the relative error is 0.3 % for 2
                and 0.002 % for 1.5.

        References:
            Predescu et al., J. Chem. Phys. 152, 084113 (2020), doi:10.1063/1.5129393.
        """
        widths = 1.1 * base ** np.arange(num_terms, dtype=np.float64)
        scale = 2 * COULOMB_CONSTANT * math.log(base) / math.sqrt(2 * math.pi)
        return cls(scale / widths, widths)

    def radial(self, r_squared, sigma, order):
        """Returns $B_n$ summed over the Gaussians, eV/e² Å⁻²ⁿ."""
        widths = sigma * (1.0 + jax.nn.softplus(self.raw_widths.astype(sigma.dtype)))
        scale = self.amplitudes.astype(sigma.dtype)
        terms = jnp.exp(-0.5 * r_squared[..., None] / widths**2)
        return [
            jnp.matmul(terms, scale / widths ** (2 * n), precision="highest")
            for n in range(order + 1)
        ]

    def fourier_transform(self, k_squared, sigma):
        r"""Returns $\phi(k)$, eV Å³/e²."""
        widths, volumes = self._volumes(sigma)
        decay = jnp.exp(-0.5 * k_squared[..., None] * widths**2)
        return jnp.matmul(decay, volumes, precision="highest")

    def fourier_at_zero(self, sigma):
        """Returns the integral of the kernel, eV Å³/e²."""
        return jnp.sum(self._volumes(sigma)[1])

    def _volumes(self, sigma):
        widths = sigma * (1.0 + jax.nn.softplus(self.raw_widths.astype(sigma.dtype)))
        scale = (2 * math.pi) ** 1.5 * self.amplitudes.astype(sigma.dtype)
        return widths, scale * widths**3
