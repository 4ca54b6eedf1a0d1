"""Distributed training with several processes, each with its own devices.

All processes run the same operations in the same order; only the main process, the
first one, writes files.
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


def join_processes(
    address: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Connects this process with the others; call it before any JAX computation.

    The main process listens only at `address`, not at all addresses of its machine,
    because the port has no authentication.

    Args:
        address: of the main process, `name:port`; None to detect it on SLURM or with
            Open MPI.
        num_processes: number of processes; None to detect it.
        process_id: index of this process, from 0; None to detect it.

    Raises:
        BenchError: the numbers or the address are invalid, or the connection fails.
    """
    if (
        num_processes is not None
        and process_id is not None
        and process_id >= num_processes
    ):
        raise BenchError(
            f"--process-id counts from 0 to {num_processes - 1}, got {process_id}."
        )
    if address is not None:
        _check_address(address, first=process_id == 0)
    announce("waiting for the other processes")
    try:
        jax.distributed.initialize(
            address, num_processes, process_id, coordinator_bind_address=address
        )
    except (ValueError, RuntimeError) as error:
        raise BenchError(
            f"The processes cannot be connected ({one_line(error)}): outside SLURM and "
            "Open MPI all of them need --coordinator NAME:PORT, --num-processes and "
            "--process-id."
        ) from error


def _check_address(address: str, first: bool) -> None:
    """Raises an error for addresses that would hang or crash the XLA coordinator."""
    match = re.fullmatch(
        r"(\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:]+)):(?P<port>[0-9]{1,5})",
        address,
    )
    if match is None or not 0 < int(match["port"]) < 65536:
        raise BenchError(
            "--coordinator must be NAME:PORT of the first process, such as "
            f"node1:29500; got {address!r}."
        )
    try:
        addresses = socket.getaddrinfo(
            match["name"] or match["ipv6"], int(match["port"]), type=socket.SOCK_STREAM
        )
        if first:
            family, kind, protocol, _, socket_address = addresses[0]
            with socket.socket(family, kind, protocol) as test_socket:
                test_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                test_socket.bind(socket_address)
    except (OSError, UnicodeError) as error:
        raise BenchError(
            f"--coordinator {address} is not "
            f"{'a free address of this machine' if first else 'a reachable address'} "
            f"({one_line(error)})."
        ) from error


def is_main_process() -> bool:
    """Returns whether this is the main process, which writes all files."""
    return jax.process_index() == 0


def wait_for_all(barrier: str) -> None:
    """Waits until all processes have reached the same barrier.

    Args:
        barrier: name of the barrier.
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(barrier)


def shard(values: Any, sharding: NamedSharding) -> jax.Array:
    """Distributes an array over the devices of all processes.

    Args:
        values: the full array, equal in all processes.
        sharding: of the result.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(values, sharding)
    full = np.asarray(values)
    return jax.make_array_from_callback(full.shape, sharding, lambda index: full[index])


def local_copy(tree: Any) -> Any:
    """Returns the local copy of replicated arrays, on one device of this process.

    Args:
        tree: of arrays replicated on every device; returned as it is if there is only
            one process.
    """
    if jax.process_count() == 1:
        return tree
    local = lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x
    return jax.tree.map(local, tree)
