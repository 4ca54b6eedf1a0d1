"""The reciprocal sum on a mesh: charge spreading, FFT, influence function."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._blocks import split_into_blocks
from ._kernels import AbstractKernel
from ._lattice import reciprocal
from ._mesh import Mesh
from ._multipoles import Multipoles
from ._splines import spline_weights

# Maximum size of the splines; larger systems are spread in blocks of atoms.
_SPLINE_BYTES = 2**27


def mesh_potential(
    moments: Multipoles,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    kernel: AbstractKernel,
    sigma: Float[Array, ""],
    mesh: Mesh,
) -> Multipoles:
    r"""Derivative of the energy on a mesh with respect to every multipole moment.

    $$ E = \frac{1}{2V} \sum_k \frac{\phi(k)}{B(k)^2} |\hat\rho(k)|^2, \qquad
       B(k) = \prod_a \operatorname{sinc}^p(m_a/n_a) $$

    The self interaction is included. Charges are spread with B-splines of order $p$
    over a mesh of $n_a$ points along the lattice vectors; $m_a$ are the integers of
    $k$, and $B$ is the transform of the spline.
    """
    basis = mesh.basis.astype(cell.dtype)
    dual, volume = reciprocal(jnp.matmul(basis, cell, precision="highest"))
    fractional = jnp.matmul(positions, dual.T, precision="highest")
    fractional = fractional - jax.lax.stop_gradient(jnp.floor(fractional))
    weights = _influence(dual, kernel, sigma, mesh) / volume

    def energy(moments: Multipoles) -> Float[Array, ""]:
        density = _spread(moments.to_fractional(dual), fractional, mesh)
        waves = jnp.fft.rfftn(density, axes=(1, 2, 3))
        return 0.5 * jnp.sum(weights * (waves.real**2 + waves.imag**2))

    return jax.grad(energy)(moments)


def _influence(
    dual: Float[Array, "3 3"],
    kernel: AbstractKernel,
    sigma: Float[Array, ""],
    mesh: Mesh,
) -> Float[Array, "first second third"]:
    r"""$\phi(k)/B(k)^2$, doubled where `rfftn` omits the complex conjugate."""
    first, second, third = mesh.shape
    integers = [
        np.rint(np.fft.fftfreq(first, 1 / first)),
        np.rint(np.fft.fftfreq(second, 1 / second)),
        np.arange(third // 2 + 1.0),
    ]
    axes = np.meshgrid(*integers, indexing="ij", sparse=True)
    spline = 1.0
    for x, points in zip(axes, mesh.shape, strict=True):
        spline = spline * np.sinc(x / points) ** (2 * mesh.order)
    multiplicity = np.where((axes[2] == 0) | (2 * axes[2] == third), 1.0, 2.0)
    k = [
        sum(x.astype(dual.dtype) * dual[a, c] for a, x in enumerate(axes))
        for c in range(3)
    ]
    squared = (2 * math.pi) ** 2 * (k[0] ** 2 + k[1] ** 2 + k[2] ** 2)
    origin = (axes[0] == 0) & (axes[1] == 0) & (axes[2] == 0)
    transform = kernel.fourier_transform(jnp.where(origin, 1.0, squared), sigma)
    transform = jnp.where(origin, kernel.fourier_at_zero(sigma), transform)
    return transform * (multiplicity / spline).astype(dual.dtype)


def _spread(
    scaled: Multipoles, fractional: Float[Array, "atoms 3"], mesh: Mesh
) -> Float[Array, "charge_channels first second third"]:
    """Returns the density of all atoms, for large systems summed block by block."""
    atoms, channels = scaled.charges.shape
    spline_bytes = channels * mesh.order**3 * fractional.dtype.itemsize
    block_size = max(32, _SPLINE_BYTES // spline_bytes)
    density = _empty_density(scaled, mesh)
    if atoms <= block_size:
        return _wrap_overhang(_add_atoms(density, scaled, fractional, mesh), mesh)

    @jax.checkpoint
    def add(density, block):
        return _add_atoms(density, block[0], block[1], mesh), None

    blocks = split_into_blocks((scaled, fractional), block_size)
    return _wrap_overhang(jax.lax.scan(add, density, blocks)[0], mesh)


def _empty_density(
    scaled: Multipoles, mesh: Mesh
) -> Float[Array, "rows charge_channels line"]:
    first, second, third = mesh.shape
    shape = (first * second, scaled.charges.shape[1], third + mesh.order)
    return jnp.zeros(shape, scaled.charges.dtype)


def _add_atoms(
    density: Float[Array, "rows charge_channels line"],
    scaled: Multipoles,
    fractional: Float[Array, "atoms 3"],
    mesh: Mesh,
) -> Float[Array, "rows charge_channels line"]:
    """Adds the splines of atoms, line by line; lines extend past the last point."""
    mesh_positions = fractional * jnp.asarray(mesh.shape, fractional.dtype)
    corner = jax.lax.stop_gradient(jnp.floor(mesh_positions))
    splines = spline_weights(mesh_positions - corner, mesh.order, scaled.degree)
    corner = corner.astype(jnp.int32) % jnp.asarray(mesh.shape, jnp.int32)
    first, second = (
        (corner[:, a, None] + jnp.arange(mesh.order)) % mesh.shape[a] for a in (0, 1)
    )
    rows = first[:, :, None] * mesh.shape[1] + second[:, None, :]
    columns = jnp.broadcast_to(corner[:, 2, None, None], rows.shape)
    lines = _outer_products(scaled, splines, mesh)
    dimensions = jax.lax.ScatterDimensionNumbers(
        update_window_dims=(1, 2),
        inserted_window_dims=(0,),
        scatter_dims_to_operand_dims=(0, 2),
    )
    return jax.lax.scatter_add(
        density,
        jnp.stack([rows, columns], axis=-1).reshape(-1, 2),
        lines.reshape(-1, *lines.shape[3:]),
        dimensions,
        mode="promise_in_bounds",
    )


def _outer_products(
    scaled: Multipoles, splines: list[Float[Array, "atoms 3 order"]], mesh: Mesh
) -> Float[Array, "atoms order order charge_channels order"]:
    """Weights of every atom on its cube of mesh points; moments are derivatives."""
    scale = np.asarray(mesh.shape, float)
    unit_vectors = np.eye(3, dtype=int)
    terms = [(scaled.charges, np.zeros(3, int), 1.0)]
    if scaled.dipoles is not None:
        terms += [(scaled.dipoles[..., a], unit_vectors[a], scale[a]) for a in range(3)]
    if scaled.quadrupoles is not None:
        for a in range(3):
            for b in range(a + 1):
                factor = scale[a] * scale[b] * (0.5 if a == b else 1.0)
                moment = scaled.quadrupoles[..., a, b]
                terms.append((moment, unit_vectors[a] + unit_vectors[b], factor))
    total = 0.0
    for moment, orders, factor in terms:
        first, second, third = (splines[d][:, a] for a, d in enumerate(orders))
        plane = first[:, :, None] * second[:, None, :]
        line = (factor * moment)[:, :, None] * third[:, None, :]
        total = total + plane[:, :, :, None, None] * line[:, None, None]
    return jnp.asarray(total)


def _wrap_overhang(
    density: Float[Array, "rows charge_channels line"], mesh: Mesh
) -> Float[Array, "charge_channels first second third"]:
    """Adds the part of lines past the last point to their start (periodicity)."""
    third = mesh.shape[2]
    density = density[..., :third].at[..., : mesh.order].add(density[..., third:])
    return jnp.moveaxis(density, 1, 0).reshape(-1, *mesh.shape)
