"""What a backbone is, and what it says of every atom."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._batch import Batch


class NodeOutput(NamedTuple):
    """What a backbone says of every atom, as `[graphs, slots]`; zero on padding."""

    energies: Float[Array, "graphs slots"]
    """Short-range energy in the backbone's own scale, see `Potential`."""
    long_range: Float[Array, "graphs slots"]
    """Energy of the long-range layers, eV."""
    charges: Float[Array, "graphs slots"]
    """e."""


@runtime_checkable
class Backbone(Protocol):
    """A model of atoms: node energies and charges from a batch."""

    elements: tuple[int, ...]
    """Atomic numbers the model knows, ascending."""

    @property
    def cutoff(self) -> float:
        """Å."""
        ...

    @property
    def needs_triplets(self) -> bool:
        """Whether batches must come with `Triplets`, see `pack`."""
        ...

    @property
    def has_charges(self) -> bool:
        """Whether the charges are more than zeros."""
        ...

    def plan_for(self, cells: Any, positions: Any, mask: Any, **margin: float) -> Any:
        """Host-made facts for `Batch.plan`; see `LongRange.plan_for`."""
        ...

    def __call__(self, batch: Batch) -> NodeOutput:
        """Energies and charges of every atom."""
        ...


def element_table(elements: tuple[int, ...]) -> tuple[int, ...]:
    """The elements of a model, ascending and each once.

    Raises:
        ValueError: no element, or a number that is none.
    """
    if not elements:
        raise ValueError("`elements` is empty: name the atomic numbers to learn.")
    table = tuple(sorted({int(z) for z in elements}))
    if table[0] < 1 or table[-1] > 118:
        raise ValueError(
            f"`elements` are atomic numbers between 1 and 118, got {list(table)}."
        )
    return table


def element_index(species: Array, elements: tuple[int, ...]) -> Array:
    """Where each atom's element stands in the table; -1 on padding.

    `jax.nn.one_hot` of it is zero on padding and for elements the model does not know,
    which `Potential.check_elements` refuses on the host.
    """
    known = np.full(119, -1, np.int32)
    known[list(elements)] = np.arange(len(elements))
    return jnp.asarray(known)[species.reshape(-1)]


def checked_avg_num_neighbors(avg_num_neighbors: float) -> Float[Array, ""]:
    """The scale of sums over neighbours, refused unless positive."""
    if not avg_num_neighbors > 0:
        raise ValueError(
            "`avg_num_neighbors` scales sums over neighbours and must be positive, "
            f"got {avg_num_neighbors}."
        )
    return jnp.asarray(avg_num_neighbors, float)
