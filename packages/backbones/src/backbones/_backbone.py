"""The interface of a backbone, and helpers of their constructors."""

from typing import Any, ClassVar, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._batch import Batch
from ._hooks import Hooks, NodeOutput


@runtime_checkable
class Backbone(Protocol):
    """A model that predicts energies and charges of the atoms of a batch.

    It is an `equinox.Module` with the constructor

    ```
    Backbone(elements, size, *, cutoff, avg_num_neighbors, long_range, charges, key)
    ```

    in which `long_range` are layers by hook, or None, and `charges` is the hook whose
    charges the model predicts, or None. With these arguments model files and `bench`
    build it by the name of its entry point in the group `backbones.backbones`.
    `AbstractBackbone` has most of the members.
    """

    Size: ClassVar[type]
    """Dataclass of the hyperparameters: numbers, strings and tuples of these. Its
    property `widths` has the channels at each hook, first to last; the last hook is
    `"final"`."""

    elements: tuple[int, ...]
    """Atomic numbers that the model supports, ascending."""
    size: Any
    """Hyperparameters of this model, a `Size`."""
    hooks: Hooks
    """The long-range layers, which are called at the hooks."""

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

    def hook_parts(self, hook: str) -> tuple[Any, ...]:
        """Returns the modules and arrays that only the layer at a hook uses.

        They are nodes of this module besides the layer itself, such as networks between
        the layer and the features. They are trained or frozen together with the layer.

        Args:
            hook: with a layer.
        """
        ...

    def plan_for(
        self, cells: Any, positions: Any, mask: Any, *, margin: float = 1e-3
    ) -> Any:
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
