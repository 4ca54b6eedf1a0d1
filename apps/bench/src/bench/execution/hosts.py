"""Several processes that train one model together, each with devices of its own.

All of them do the same in the same order; the first one alone writes.
"""

import re
import socket
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from bench.exceptions import BenchError, one_line
from bench.execution.announcements import announce


def join_hosts(address: str | None, hosts: int | None, host: int | None) -> None:
    """Connects this process with the others, before anything else is computed.

    The first one listens at `address` only, not at all addresses of its machine: the
    port has no authentication.

    Args:
        address: of the first process, `name:port`; found out on known clusters.
        hosts: how many processes there are; the same.
        host: which one this is, from 0; the same.

    Raises:
        BenchError: the numbers or the address are of no use, or nobody answers there.
    """
    if hosts is not None and host is not None and host >= hosts:
        raise BenchError(f"--host counts from 0 to {hosts - 1}, got {host}.")
    if address is not None:
        _check_address(address, first=host == 0)
    announce("waiting for the other processes")
    try:
        jax.distributed.initialize(
            address, hosts, host, coordinator_bind_address=address
        )
    except (ValueError, RuntimeError) as error:
        raise BenchError(
            f"The processes cannot be connected ({one_line(error)}): outside SLURM and "
            "Open MPI all of them need --coordinator NAME:PORT, --hosts and --host."
        ) from error


def _check_address(address: str, first: bool) -> None:
    """Refuses what would be waited for in vain, or end the process inside XLA."""
    found = re.fullmatch(
        r"(\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:]+)):(?P<port>[0-9]{1,5})",
        address,
    )
    if found is None or not 0 < int(found["port"]) < 65536:
        raise BenchError(
            f"--coordinator is the first process's NAME:PORT, such as node1:29500; got "
            f"{address!r}."
        )
    try:
        known = socket.getaddrinfo(
            found["name"] or found["six"], int(found["port"]), type=socket.SOCK_STREAM
        )
        if first:
            family, kind, protocol, _, place = known[0]
            with socket.socket(family, kind, protocol) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(place)
    except (OSError, UnicodeError) as error:
        raise BenchError(
            f"--coordinator {address} is no address "
            f"{'of this machine that is free' if first else 'that can be found'} "
            f"({one_line(error)})."
        ) from error


def is_main_process() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def wait_for_all(place: str) -> None:
    """Returns when all processes have come to the same place.

    Args:
        place: its name.
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def shard(values: Any, place: NamedSharding) -> jax.Array:
    """An array over the devices of all processes, each of which has all values.

    Args:
        values: an array of this process.
        place: where its parts go.
    """
    if place.is_fully_addressable:
        return jax.device_put(values, place)
    whole = np.asarray(values)
    return jax.make_array_from_callback(whole.shape, place, lambda part: whole[part])


def local_copy(tree: Any) -> Any:
    """The arrays of a tree that is whole on every device, without other processes.

    Args:
        tree: unchanged where there is one process.
    """
    if jax.process_count() == 1:
        return tree
    here = lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x
    return jax.tree.map(here, tree)
