"""The arrays of mace-torch's state dict, each of them used or known to be idle."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# Tables and masks, which repeat what a plain model is.
_IDLE = re.compile(
    r"heads|.*\.(output_mask|_w3j\w*|_compiled_main\w*\._w3j\w+|weights_\w+_zeroed)"
)


class Arrays(Mapping[str, np.ndarray]):
    """Arrays by name that remember which were read.

    Args:
        state: `model.state_dict()` as NumPy arrays.

    Raises:
        ValueError: it is no mapping of names to finite arrays.
    """

    def __init__(self, state: Any):
        if not isinstance(state, Mapping):
            raise ValueError(
                f"`state` is a {type(state).__name__}; expected arrays by name: "
                "read a file of them with `numpy.load(path)`."
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
        """The array.

        Raises:
            ValueError: there is none of this name.
        """
        if name not in self._arrays:
            raise ValueError(
                f"The state lacks {name!r}, which a plain ScaleShiftMACE has: only a "
                "whole state dict of one can be converted."
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
        """The only value of an array."""
        array = self[name]
        if array.size != 1:
            raise ValueError(f"The state has {array.size} values in {name!r}, not one.")
        return float(array.reshape(()))

    def shaped(self, name: str, *shape: int) -> np.ndarray:
        """An array in another shape; -1 stands for one length that is not known.

        Raises:
            ValueError: it has not that many entries.
        """
        array, known = self[name], math.prod(n for n in shape if n >= 0)
        if array.size % max(known, 1) or (-1 not in shape and array.size != known):
            raise ValueError(
                f"The state has {name!r} with shape {array.shape}, which a plain "
                f"ScaleShiftMACE has not: its entries do not go with {shape}."
            )
        return array.reshape(shape)

    def check_all_read(self) -> None:
        """Refuses arrays that a plain model has not.

        Raises:
            ValueError: there is one that nothing has read.
        """
        for name in sorted(self._unread):
            array = self._arrays[name]
            # Masks of a plain model hide nothing, and its biases have no entries.
            hides = name.endswith("output_mask") and not array.all()
            idle = not array.size or (_IDLE.fullmatch(name) and not hides)
            if not idle:
                raise ValueError(
                    f"The state has {name!r}, which a plain ScaleShiftMACE has not: "
                    "only those can be converted."
                )
