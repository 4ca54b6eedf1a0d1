"""The reciprocal sum on a mesh: spread with splines, transform, weigh."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._blocks import in_blocks
from ._kernels import AbstractKernel
from ._lattice import reciprocal
from ._mesh import Mesh
from ._multipoles import Multipoles
from ._splines import spline_weights

# Above this size the splines of all atoms are not held at once.
_SPLINE_BYTES = 2**27


def mesh_potential(
    moments: Multipoles,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    kernel: AbstractKernel,
    sigma: Float[Array, ""],
    mesh: Mesh,
) -> Multipoles:
    r"""The derivative of the mesh's energy by every moment, own moments included.

    $$ E = \frac{1}{2V} \sum_k \frac{\phi(k)}{B(k)^2} |\hat\rho(k)|^2, \qquad
       B(k) = \prod_a \operatorname{sinc}^p(m_a/n_a) $$

    with the charges spread as B-splines of order $p$ over a mesh of $n_a$ points along
    the lattice vectors, $m_a$ the integers of $k$, and $B$ the spline's transform.
    """
    basis = mesh.basis.astype(cell.dtype)
    dual, volume = reciprocal(jnp.matmul(basis, cell, precision="highest"))
    fractional = jnp.matmul(positions, dual.T, precision="highest")
    fractional = fractional - jax.lax.stop_gradient(jnp.floor(fractional))
    weights = _influence(dual, kernel, sigma, mesh) / volume

    def energy(moments: Multipoles) -> Float[Array, ""]:
        density = _spread(moments.along(dual), fractional, mesh)
        waves = jnp.fft.rfftn(density, axes=(1, 2, 3))
        return 0.5 * jnp.sum(weights * (waves.real**2 + waves.imag**2))

    return jax.grad(energy)(moments)


def _influence(
    dual: Float[Array, "3 3"],
    kernel: AbstractKernel,
    sigma: Float[Array, ""],
    mesh: Mesh,
) -> Float[Array, "first second third"]:
    r"""$\phi(k)/B(k)^2$; the halves that `rfftn` leaves out count twice."""
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
    twice = np.where((axes[2] == 0) | (2 * axes[2] == third), 1.0, 2.0)
    k = [
        sum(x.astype(dual.dtype) * dual[a, c] for a, x in enumerate(axes))
        for c in range(3)
    ]
    squared = (2 * math.pi) ** 2 * (k[0] ** 2 + k[1] ** 2 + k[2] ** 2)
    origin = (axes[0] == 0) & (axes[1] == 0) & (axes[2] == 0)
    spectrum = kernel.spectrum(jnp.where(origin, 1.0, squared), sigma)
    spectrum = jnp.where(origin, kernel.background(sigma), spectrum)
    return spectrum * (twice / spline).astype(dual.dtype)


def _spread(
    scaled: Multipoles, fractional: Float[Array, "atoms 3"], mesh: Mesh
) -> Float[Array, "charge_channels first second third"]:
    """The density of all atoms; large systems in blocks of atoms."""
    atoms, channels = scaled.charges.shape
    splines = channels * mesh.order**3 * fractional.dtype.itemsize
    block = max(32, _SPLINE_BYTES // splines)
    if atoms <= block:
        return _fold(_add(_blank(scaled, mesh), scaled, fractional, mesh), mesh)

    @jax.checkpoint
    def add(density, some):
        return _add(density, some[0], some[1], mesh), None

    parts = in_blocks((scaled, fractional), block)
    return _fold(jax.lax.scan(add, _blank(scaled, mesh), parts)[0], mesh)


def _blank(scaled: Multipoles, mesh: Mesh) -> Float[Array, "rows charge_channels line"]:
    first, second, third = mesh.shape
    shape = (first * second, scaled.charges.shape[1], third + mesh.order)
    return jnp.zeros(shape, scaled.charges.dtype)


def _add(
    density: Float[Array, "rows charge_channels line"],
    scaled: Multipoles,
    fractional: Float[Array, "atoms 3"],
    mesh: Mesh,
) -> Float[Array, "rows charge_channels line"]:
    """Adds the atoms' splines, line by line; lines overhang at their end."""
    places = fractional * jnp.asarray(mesh.shape, fractional.dtype)
    corner = jax.lax.stop_gradient(jnp.floor(places))
    splines = spline_weights(places - corner, mesh.order, scaled.degree)
    corner = corner.astype(jnp.int32) % jnp.asarray(mesh.shape, jnp.int32)
    first, second = (
        (corner[:, a, None] + jnp.arange(mesh.order)) % mesh.shape[a] for a in (0, 1)
    )
    rows = first[:, :, None] * mesh.shape[1] + second[:, None, :]
    starts = jnp.broadcast_to(corner[:, 2, None, None], rows.shape)
    lines = _outer_products(scaled, splines, mesh)
    dimensions = jax.lax.ScatterDimensionNumbers(
        update_window_dims=(1, 2),
        inserted_window_dims=(0,),
        scatter_dims_to_operand_dims=(0, 2),
    )
    return jax.lax.scatter_add(
        density,
        jnp.stack([rows, starts], axis=-1).reshape(-1, 2),
        lines.reshape(-1, *lines.shape[3:]),
        dimensions,
        mode="promise_in_bounds",
    )


def _outer_products(
    scaled: Multipoles, splines: list[Float[Array, "atoms 3 order"]], mesh: Mesh
) -> Float[Array, "atoms order order charge_channels order"]:
    """Every atom's weights on its cube of mesh points, moments as derivatives."""
    scale = np.asarray(mesh.shape, float)
    steps = np.eye(3, dtype=int)
    terms = [(scaled.charges, np.zeros(3, int), 1.0)]
    if scaled.dipoles is not None:
        terms += [(scaled.dipoles[..., a], steps[a], scale[a]) for a in range(3)]
    if scaled.quadrupoles is not None:
        for a in range(3):
            for b in range(a + 1):
                factor = scale[a] * scale[b] * (0.5 if a == b else 1.0)
                moment = scaled.quadrupoles[..., a, b]
                terms.append((moment, steps[a] + steps[b], factor))
    total = 0.0
    for moment, orders, factor in terms:
        first, second, third = (splines[d][:, a] for a, d in enumerate(orders))
        plane = first[:, :, None] * second[:, None, :]
        line = (factor * moment)[:, :, None] * third[:, None, :]
        total = total + plane[:, :, :, None, None] * line[:, None, None]
    return jnp.asarray(total)


def _fold(
    density: Float[Array, "rows charge_channels line"], mesh: Mesh
) -> Float[Array, "charge_channels first second third"]:
    """Lines without their overhang, which belongs at the start."""
    third = mesh.shape[2]
    density = density[..., :third].at[..., : mesh.order].add(density[..., third:])
    return jnp.moveaxis(density, 1, 0).reshape(-1, *mesh.shape)
