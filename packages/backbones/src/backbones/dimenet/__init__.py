"""DimeNet++."""

from ._dimenet import DimeNet as DimeNet
from ._size import DimeNetSize as DimeNetSize
