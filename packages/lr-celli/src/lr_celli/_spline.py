"""Charges on a mesh: cardinal B-splines and the sum over the mesh's wave vectors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

ORDER = 6


def spline(
    coordinates: Float[Array, "atoms 3"], mesh: tuple[int, int, int]
) -> tuple[Int[Array, "atoms 3 points"], Float[Array, "atoms 3 points"]]:
    r"""Mesh points near every atom and their weights $M_p$, an axis at a time.

    Weights of one axis sum to one and are four times differentiable.

    Args:
        coordinates: fractional.
        mesh: points along the lattice vectors.
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


def influence(
    dual: Float[Array, "3 3"],
    volume: Float[Array, ""],
    smear: float,
    mesh: tuple[int, int, int],
) -> Float[Array, "x y half"]:
    r"""What the mesh's charges are multiplied with, in units of $k_e$, 1/Å.

    $\frac{4\pi}{V k^2} e^{-s^2 k^2}$ times the factor that is best for energies,
    $U^2/(\sum U^2)^2$, the sum running over the aliases of a wave vector.

    References:
        Hockney and Eastwood, Computer Simulation Using Particles (1988), chapter 8.
    """
    axes = [np.fft.fftfreq(n, 1 / n) for n in mesh[:2]]
    axes.append(np.fft.rfftfreq(mesh[2], 1 / mesh[2]))
    factors = [_assignment(m, n) for m, n in zip(axes, mesh, strict=True)]
    factor = factors[0][:, None, None] * factors[1][:, None] * factors[2]
    factor[0, 0, 0] = 0.0
    integers = [jnp.asarray(m, dual.dtype) for m in axes]
    x, y, z = (m[:, None] * row for m, row in zip(integers, dual, strict=True))
    k = x[:, None, None] + y[:, None] + z
    squared = (2 * math.pi) ** 2 * jnp.sum(k**2, axis=-1)
    squared = squared.at[0, 0, 0].set(1.0)
    kernel = 4 * math.pi / (volume * squared) * jnp.exp(-(smear**2) * squared)
    return kernel * jnp.asarray(factor, dual.dtype)


def mesh_potential(
    charges: Float[Array, " atoms"],
    points: Int[Array, "atoms 3 points"],
    weights: Float[Array, "atoms 3 points"],
    kernel: Float[Array, "x y half"],
    mesh: tuple[int, int, int],
) -> Float[Array, " atoms"]:
    """The potential at the atoms of their own charges through the mesh, e/Å."""
    x, y, z = (points[:, a] for a in range(3))
    near = x[:, :, None, None], y[:, None, :, None], z[:, None, None, :]
    share = weights[:, 0, :, None, None] * weights[:, 1, None, :, None]
    share = share * weights[:, 2, None, None, :]
    spread = charges[:, None, None, None] * share
    density = jnp.zeros(mesh, charges.dtype).at[near].add(spread)
    waves: Complex[Array, "x y half"] = jnp.fft.rfftn(density)
    potential = jnp.fft.irfftn(waves * kernel, s=mesh) * math.prod(mesh)
    return jnp.sum(potential[near] * share, axis=(1, 2, 3))


def friendly(count: float) -> int:
    """The next even number whose prime factors are 2, 3 and 5."""
    size = max(2 * ORDER, 2 * math.ceil(count / 2))
    while not _smooth(size):
        size += 2
    return size


def _assignment(integers: np.ndarray, count: int) -> np.ndarray:
    """The factor of one axis; the wave without a conjugate partner is left out."""
    aliases = integers[:, None] / count + np.arange(-3, 4)
    powers = np.sinc(aliases) ** (2 * ORDER)
    factor = powers[:, 3] / powers.sum(axis=1) ** 2
    return np.where(2 * np.abs(integers) == count, 0.0, factor)


def _smooth(size: int) -> bool:
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    return size == 1
