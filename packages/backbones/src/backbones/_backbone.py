"""The interface of a backbone, and helpers of their constructors."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._batch import Batch


class NodeOutput(NamedTuple):
    """Energies and charges of the atoms, zero on padding."""

    energies: Float[Array, "graphs slots"]
    """Short-range energies before scale and shift, see `Potential`."""
    long_range: Float[Array, "graphs slots"]
    """Energies of the long-range layers, eV."""
    charges: Float[Array, "graphs slots"]
    """Charges of the hook that the model reports, e."""


@runtime_checkable
class Backbone(Protocol):
    """A model that predicts energies and charges of the atoms of a batch."""

    elements: tuple[int, ...]
    """Atomic numbers that the model supports, ascending."""

    @property
    def cutoff(self) -> float:
        """Cutoff of the edges, Å."""
        ...

    @property
    def needs_triplets(self) -> bool:
        """Whether batches must have `Triplets`, see `pack`."""
        ...

    @property
    def has_charges(self) -> bool:
        """Whether the model predicts charges; without, they are zero."""
        ...

    def plan_for(self, cells: Any, positions: Any, mask: Any, **margin: float) -> Any:
        """Returns the plan for `Batch.plan`; see `LongRange.plan_for`."""
        ...

    def __call__(self, batch: Batch) -> NodeOutput:
        """Returns energies and charges of the atoms."""
        ...


def element_table(elements: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the distinct elements of a model, ascending.

    Args:
        elements: atomic numbers.

    Raises:
        ValueError: there are no elements, or a number is not an atomic number.
    """
    if not elements:
        raise ValueError(
            "`elements` is empty: give the atomic numbers of the training data."
        )
    table = tuple(sorted({int(z) for z in elements}))
    if table[0] < 1 or table[-1] > 118:
        raise ValueError(
            f"`elements` are atomic numbers between 1 and 118, got {list(table)}."
        )
    return table


def element_index(species: Array, elements: tuple[int, ...]) -> Array:
    """Returns the index of each atom's element in the model's elements.

    It is -1 on padding and for unsupported elements, where `jax.nn.one_hot` is zero.
    `Potential.check_elements` rejects the latter on the host.

    Args:
        species: atomic numbers of the atoms, 0 on padding.
        elements: atomic numbers that the model supports.
    """
    index = np.full(119, -1, np.int32)
    index[list(elements)] = np.arange(len(elements))
    return jnp.asarray(index)[species.reshape(-1)]


def checked_avg_num_neighbors(avg_num_neighbors: float) -> Float[Array, ""]:
    """Returns the average number of neighbors as an array.

    Args:
        avg_num_neighbors: mean number of neighbors per atom.

    Raises:
        ValueError: it is not positive.
    """
    if not avg_num_neighbors > 0:
        raise ValueError(
            "`avg_num_neighbors` scales sums over neighbors and must be positive, "
            f"got {avg_num_neighbors}."
        )
    return jnp.asarray(avg_num_neighbors, float)
