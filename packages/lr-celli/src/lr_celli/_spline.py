"""Particle-mesh sums: charge assignment by B-splines and the influence function."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

ORDER = 6


def spline(
    coordinates: Float[Array, "atoms 3"], mesh: tuple[int, int, int]
) -> tuple[Int[Array, "atoms 3 points"], Float[Array, "atoms 3 points"]]:
    r"""Mesh points near each atom and their B-spline weights $M_p$, per axis.

    The weights of one axis sum to one and are four times differentiable.

    Args:
        coordinates: fractional.
        mesh: number of points along each lattice vector.
    """
    scaled = coordinates * jnp.asarray(mesh, coordinates.dtype)
    floor = jax.lax.stop_gradient(jnp.floor(scaled))
    t = (scaled - floor)[..., None]
    values = jnp.ones_like(t)
    for n in range(2, ORDER + 1):
        k = jnp.arange(n, dtype=t.dtype)
        padded = jnp.pad(values, ((0, 0), (0, 0), (1, 1)))
        values = ((t + k) * padded[..., 1:] + (n - t - k) * padded[..., :-1]) / (n - 1)
    points = floor.astype(int)[..., None] - jnp.arange(ORDER)
    return jnp.mod(points, jnp.asarray(mesh)[:, None]), values


def influence_function(
    dual: Float[Array, "3 3"],
    volume: Float[Array, ""],
    smearing: float,
    mesh: tuple[int, int, int],
) -> Float[Array, "x y half"]:
    r"""Optimal influence function of the mesh, in units of $k_e$, 1/Å.

    $\frac{4\pi}{V k^2} e^{-s^2 k^2}$ times $U^2/(\sum U^2)^2$, the factor that is
    optimal for energies; the sum runs over the aliases of a wave vector.

    References:
        Hockney and Eastwood, Computer Simulation Using Particles (1988), chapter 8.
    """
    axes = [np.fft.fftfreq(n, 1 / n) for n in mesh[:2]]
    axes.append(np.fft.rfftfreq(mesh[2], 1 / mesh[2]))
    factors = [_assignment_factor(m, n) for m, n in zip(axes, mesh, strict=True)]
    factor = factors[0][:, None, None] * factors[1][:, None] * factors[2]
    factor[0, 0, 0] = 0.0
    indices = [jnp.asarray(m, dual.dtype) for m in axes]
    x, y, z = (m[:, None] * row for m, row in zip(indices, dual, strict=True))
    k = x[:, None, None] + y[:, None] + z
    squared = (2 * math.pi) ** 2 * jnp.sum(k**2, axis=-1)
    squared = squared.at[0, 0, 0].set(1.0)
    kernel = 4 * math.pi / (volume * squared) * jnp.exp(-(smearing**2) * squared)
    return kernel * jnp.asarray(factor, dual.dtype)


def mesh_potential(
    charges: Float[Array, " atoms"],
    points: Int[Array, "atoms 3 points"],
    weights: Float[Array, "atoms 3 points"],
    kernel: Float[Array, "x y half"],
    mesh: tuple[int, int, int],
) -> Float[Array, " atoms"]:
    """The potential of the smeared charges at the atoms, computed on the mesh, e/Å."""
    x, y, z = (points[:, a] for a in range(3))
    index = x[:, :, None, None], y[:, None, :, None], z[:, None, None, :]
    weight = weights[:, 0, :, None, None] * weights[:, 1, None, :, None]
    weight = weight * weights[:, 2, None, None, :]
    spread = charges[:, None, None, None] * weight
    density = jnp.zeros(mesh, charges.dtype).at[index].add(spread)
    transform: Complex[Array, "x y half"] = jnp.fft.rfftn(density)
    potential = jnp.fft.irfftn(transform * kernel, s=mesh) * math.prod(mesh)
    return jnp.sum(potential[index] * weight, axis=(1, 2, 3))


def fft_size(count: float) -> int:
    """The next even number whose prime factors are 2, 3 and 5."""
    size = max(2 * ORDER, 2 * math.ceil(count / 2))
    while not _is_5_smooth(size):
        size += 2
    return size


def _assignment_factor(indices: np.ndarray, count: int) -> np.ndarray:
    """The factor of one axis; zero for the Nyquist wave, which has no conjugate."""
    aliases = indices[:, None] / count + np.arange(-3, 4)
    powers = np.sinc(aliases) ** (2 * ORDER)
    factor = powers[:, 3] / powers.sum(axis=1) ** 2
    return np.where(2 * np.abs(indices) == count, 0.0, factor)


def _is_5_smooth(size: int) -> bool:
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    return size == 1
