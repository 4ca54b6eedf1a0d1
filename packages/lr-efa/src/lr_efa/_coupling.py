"""Spherical harmonics and their Clebsch-Gordan products, in e3nn's conventions."""

import functools as ft

import e3nn_jax as e3nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def solid_harmonics(
    vectors: Float[Array | np.ndarray, "*batch 3"], degree: int
) -> Float[Array, "*batch sph"]:
    r"""$|r|^l Y_l(r)$ up to `degree`, component-normalized, e3nn order."""
    vectors = jnp.asarray(vectors)
    if degree == 0:
        return jnp.ones((*vectors.shape[:-1], 1), vectors.dtype)
    irreps = e3nn.Irreps([(1, (d, (-1) ** d)) for d in range(degree + 1)])
    harmonics = e3nn.spherical_harmonics(
        irreps, vectors, normalize=False, normalization="component"
    )
    return harmonics.array


def degrees_of(degree: int) -> np.ndarray:
    """The degree of each of the `(degree + 1)**2` components."""
    return np.repeat(np.arange(degree + 1), 2 * np.arange(degree + 1) + 1)


def degree_of_axis(components: int) -> int:
    """The degree L of an axis of $(L + 1)^2$ components."""
    degree = round(components**0.5) - 1
    if components < 1 or (degree + 1) ** 2 != components:
        raise ValueError(
            "Features of degree L have (L + 1)**2 components in e3nn order, 1, 4, 9, "
            f"..., got {components}."
        )
    return degree


def coupling_paths(value_degree: int, degree: int) -> tuple[tuple[int, int, int], ...]:
    """The Clebsch-Gordan paths of directional attention, in the order of `coupling`.

    Args:
        value_degree: largest degree of the values.
        degree: largest degree of the harmonics and of the output.

    Returns:
        Triples (l of the value, l of the harmonic, l of the output), of natural parity.
    """
    return tuple(
        (value, wave, out)
        for out in range(degree + 1)
        for value in range(value_degree + 1)
        for wave in range(degree + 1)
        if abs(value - wave) <= out <= value + wave and (value + wave + out) % 2 == 0
    )


def path_weights(degree: int) -> Float[np.ndarray, " paths"]:
    """Weights of the paths: one over the root of the number of paths per output l."""
    outputs = np.array([out for _, _, out in coupling_paths(degree, degree)])
    return np.bincount(outputs)[outputs] ** -0.5


@ft.cache
def path_tensors(
    value_degree: int, degree: int
) -> Float[np.ndarray, "paths output harmonic value"]:
    r"""The Clebsch-Gordan tensor of each path, times $\sqrt{2 l_{out} + 1}$.

    With that factor the product of a scalar with $Y_l$ is $Y_l$ times the scalar.
    """
    paths = coupling_paths(value_degree, degree)
    shape = [(d + 1) ** 2 for d in (degree, degree, value_degree)]
    tensors = np.zeros((len(paths), *shape))
    part = lambda d: slice(d**2, (d + 1) ** 2)
    for tensor, (value, wave, out) in zip(tensors, paths, strict=True):
        product = e3nn.clebsch_gordan(value, wave, out) * np.sqrt(2 * out + 1)
        tensor[part(out), part(wave), part(value)] = np.transpose(product, (2, 1, 0))
    tensors.setflags(write=False)
    return tensors


def coupling_tensor(
    value_degree: int,
    degree: int,
    coupling: Float[Array | np.ndarray, " paths"] | None,
) -> Float[Array | np.ndarray, "output harmonic value"]:
    """The sum over paths of each tensor times its weight in `coupling`."""
    tensors = path_tensors(value_degree, degree)
    if coupling is None:
        return tensors.sum(axis=0)
    if coupling.shape != (len(tensors),):
        raise ValueError(
            f"`coupling` has one weight for each of the {len(tensors)} paths of "
            f"`coupling_paths({value_degree}, {degree})`, got shape "
            f"{list(coupling.shape)}."
        )
    return jnp.einsum("p,pohv->ohv", coupling, tensors, precision="highest")


def harmonic_coupling(
    harmonics: Float[Array, "waves harmonic"],
    coupling: Float[Array, "output harmonic components"],
) -> tuple[
    Float[Array, "waves output components"],
    Float[Array, "waves output components"] | None,
]:
    """Matrices from value to output per wave, for even and for odd harmonics."""
    degree = degree_of_axis(harmonics.shape[1])
    odd = degrees_of(degree) % 2 == 1
    contract = lambda selected: jnp.einsum(
        "ph,ohc->poc", harmonics * selected, coupling, precision="highest"
    )
    return contract(~odd), contract(odd) if degree > 0 else None
