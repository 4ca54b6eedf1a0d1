"""Kernels as plain values for JSON, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._kernels import AbstractKernel, Coulomb, GaussianSum, InverseSixth


def kernel_arguments(kernel: AbstractKernel) -> dict[str, Any]:
    """Returns the name of a kernel and what determines its architecture.

    Trained parameters are arrays of the kernel and not included.

    Raises:
        ValueError: the kernel is not one of this package.
    """
    name = type(kernel).__name__
    if type(kernel) is Coulomb:
        return {"name": name, "constant": kernel.constant}
    if type(kernel) is GaussianSum:
        return {"name": name, "num_terms": len(kernel.amplitudes)}
    if type(kernel) is InverseSixth:
        return {"name": name}
    raise ValueError(
        "Only the kernels `Coulomb`, `InverseSixth` and `GaussianSum` can be written "
        f"as plain values, got `{name}`: save the layer's arrays instead."
    )


def kernel_from_arguments(arguments: Mapping[str, Any]) -> AbstractKernel:
    """Returns a kernel of the same architecture, with initial parameters.

    Raises:
        ValueError: there is no kernel of this name.
    """
    name = arguments["name"]
    if name == "Coulomb":
        return Coulomb(arguments["constant"])
    if name == "GaussianSum":
        ones = np.ones(arguments["num_terms"])
        return GaussianSum(ones, 2 * ones)
    if name == "InverseSixth":
        return InverseSixth()
    raise ValueError(
        "The name of a kernel is 'Coulomb', 'InverseSixth' or 'GaussianSum', got "
        f"{name!r}."
    )
