"""Several processes that train one model together, each with devices of its own.

All of them do the same in the same order; the first one alone writes.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding


def join_hosts(address: str | None, hosts: int | None, host: int | None) -> None:
    """Connects this process with the others, before anything else is computed.

    Args:
        address: of the first process, `name:port`; found out on known clusters.
        hosts: how many processes there are; the same.
        host: which one this is, from 0; the same.
    """
    jax.distributed.initialize(address, hosts, host)


def leads() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def wait_for_all(place: str) -> None:
    """Returns when all processes have come to the same place.

    Args:
        place: its name.
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def spread(values: Any, place: NamedSharding) -> jax.Array:
    """An array over the devices of all processes, each of which has all values.

    Args:
        values: an array of this process.
        place: where its parts go.
    """
    if place.is_fully_addressable:
        return jax.device_put(values, place)
    whole = np.asarray(values)
    return jax.make_array_from_callback(whole.shape, place, lambda part: whole[part])


def of_this_process(tree: Any) -> Any:
    """The arrays of a tree that is whole on every device, without other processes.

    Args:
        tree: unchanged where there is one process.
    """
    if jax.process_count() == 1:
        return tree
    here = lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x
    return jax.tree.map(here, tree)
