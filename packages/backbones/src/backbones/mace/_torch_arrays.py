"""The arrays of a state dict of mace-torch."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# Tables and masks, which are the same in all plain models.
_REDUNDANT = re.compile(
    r"heads|.*\.(output_mask|_w3j\w*|_compiled_main\w*\._w3j\w+|weights_\w+_zeroed)"
)


class Arrays(Mapping[str, np.ndarray]):
    """Arrays by name, with a record of those that were read.

    Args:
        state: `model.state_dict()` as NumPy arrays.

    Raises:
        ValueError: it is not a mapping of names to finite arrays.
    """

    def __init__(self, state: Any):
        if not isinstance(state, Mapping):
            raise ValueError(
                f"`state` is a {type(state).__name__}; expected arrays by name: "
                "read the file with `numpy.load(path)`."
            )
        self._arrays = dict(state)
        self._unread = set(self._arrays)
        for name, array in self._arrays.items():
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
                raise ValueError(
                    f"`state` has {name!r} as {type(array).__name__}; expected a NumPy "
                    "array of numbers: `tensor.detach().cpu().numpy()`."
                )
            if not np.isfinite(array).all():
                raise ValueError(f"`state` has values in {name!r} that are not finite.")

    def __getitem__(self, name: str) -> np.ndarray:
        """Returns the array of a name.

        Raises:
            ValueError: there is no such array.
        """
        if name not in self._arrays:
            raise ValueError(
                f"The state lacks {name!r}, which a plain ScaleShiftMACE has: only a "
                "complete state dict can be converted."
            )
        self._unread.discard(name)
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def number(self, name: str) -> float:
        """Returns the value of an array with one entry."""
        array = self[name]
        if array.size != 1:
            raise ValueError(f"The state has {array.size} values in {name!r}, not one.")
        return float(array.reshape(()))

    def shaped(self, name: str, *shape: int) -> np.ndarray:
        """Returns an array in another shape, where -1 is an unknown length.

        Raises:
            ValueError: the number of entries does not match the shape.
        """
        array, known = self[name], math.prod(n for n in shape if n >= 0)
        if array.size % max(known, 1) or (-1 not in shape and array.size != known):
            raise ValueError(
                f"The state has {name!r} with shape {array.shape}, unlike a plain "
                f"ScaleShiftMACE: its entries do not fit the shape {shape}."
            )
        return array.reshape(shape)

    def check_all_read(self) -> None:
        """Raises an error for arrays that a plain model does not have.

        Raises:
            ValueError: an array was not read.
        """
        for name in sorted(self._unread):
            array = self._arrays[name]
            # Masks of a plain model are all true, and its biases have no entries.
            zeros = name.endswith("output_mask") and not array.all()
            redundant = not array.size or (_REDUNDANT.fullmatch(name) and not zeros)
            if not redundant:
                raise ValueError(
                    f"The state has {name!r}, which a plain ScaleShiftMACE does not "
                    "have: only plain models can be converted."
                )
