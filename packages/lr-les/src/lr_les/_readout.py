"""Linear readouts of multipoles from features in e3nn's order."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._multipoles import Multipoles

# Degree 1 is x, y, z. Degree 2 is xz, xy, 2y² - x² - z², yz, z² - x²; these are the
# corresponding matrices of unit norm.
_SECOND_DEGREE = np.zeros((5, 3, 3))
for _row, (_i, _j) in ((0, (0, 2)), (1, (0, 1)), (3, (1, 2))):
    _SECOND_DEGREE[_row, _i, _j] = _SECOND_DEGREE[_row, _j, _i] = math.sqrt(0.5)
_SECOND_DEGREE[2] = np.diag([-1.0, 2.0, -1.0]) / math.sqrt(6)
_SECOND_DEGREE[4] = np.diag([-1.0, 0.0, 1.0]) / math.sqrt(2)


def read_moments(
    features: Float[Array, "atoms sph channels"],
    weights: tuple[Float[Array, "channels charge_channels"], ...],
) -> Multipoles:
    """Returns charges, dipoles and quadrupoles from features of degree 0, 1 and 2."""
    moments = [
        jnp.matmul(features[:, n * n : (n + 1) ** 2], weight, precision="highest")
        for n, weight in enumerate(weights)
    ]
    dipoles = quadrupoles = None
    if len(moments) > 1:
        dipoles = jnp.swapaxes(moments[1], 1, 2)
    if len(moments) > 2:
        matrices = jnp.asarray(_SECOND_DEGREE, features.dtype)
        quadrupoles = jnp.einsum(
            "nmc,mxy->ncxy", moments[2], matrices, precision="highest"
        )
    return Multipoles(moments[0][:, 0], dipoles, quadrupoles)
