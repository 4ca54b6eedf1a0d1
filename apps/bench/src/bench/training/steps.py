"""Data-parallel training steps with gradient accumulation."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from backbones import Batch
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bench.batches.loading import BatchedDataset
from bench.batches.targets import Targets
from bench.exceptions import BenchError
from bench.execution.hosts import shard
from bench.settings.training import TrainSettings

_AXIS = "device"


def device_mesh(settings: TrainSettings) -> Mesh:
    """Returns the devices that share each step.

    Args:
        settings: number of devices.

    Raises:
        BenchError: there are too few devices.
    """
    devices = jax.devices()
    requested = settings.devices or len(devices)
    if requested > len(devices):
        raise BenchError(
            f"train.devices asks for {requested} devices and JAX finds {len(devices)}: "
            "lower it, or leave it out to use all."
        )
    return Mesh(np.array(devices[:requested]), (_AXIS,))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Returns a tree whose arrays are copied to every device.

    Args:
        tree: any; leaves that are not arrays are unchanged.
        mesh: of `device_mesh`.
    """
    sharding = NamedSharding(mesh, PartitionSpec())
    copy = lambda x: shard(x, sharding) if isinstance(x, jax.Array) else x
    return jax.tree.map(copy, tree)


def count_steps(
    batched: BatchedDataset, members: np.ndarray, settings: TrainSettings
) -> int:
    """Returns the number of steps per epoch.

    Args:
        batched: dataset with labels.
        members: indices of samples.
        settings: devices and accumulation.
    """
    return batched.num_steps(
        members, _batches_per_step(settings, device_mesh(settings))
    )


def step_inputs(
    batched: BatchedDataset,
    members: np.ndarray,
    rng: np.random.Generator,
    settings: TrainSettings,
    mesh: Mesh,
) -> Iterator[tuple[Batch, Targets]]:
    """Yields inputs and labels of an epoch, arrays `[accumulate, devices, ...]`.

    Where the last batches of a bucket do not fill a step, a batch is repeated with zero
    label weights.

    Args:
        batched: dataset with labels.
        members: indices of samples.
        rng: determines the order.
        settings: devices and accumulation.
        mesh: of `device_mesh`.
    """
    batches_per_step = _batches_per_step(settings, mesh)
    sharding = NamedSharding(mesh, PartitionSpec(None, _AXIS))
    stack = lambda *leaves: _stack(leaves, settings.accumulate_grad_batches, sharding)
    for group in batched.steps(members, rng, batches_per_step):
        batch, targets = group[-1]
        filler = (batch, targets.without_weights())
        group = group + [filler] * (batches_per_step - len(group))
        yield jax.tree.map(stack, *group)


def step_members(
    batched: BatchedDataset,
    members: np.ndarray,
    rng: np.random.Generator,
    settings: TrainSettings,
) -> list[np.ndarray]:
    """Returns the indices of the samples in each of the `step_inputs` of an epoch.

    Args:
        batched: dataset with labels.
        members: indices of samples.
        rng: equal to that of `step_inputs`.
        settings: devices and accumulation.
    """
    batches_per_step = _batches_per_step(settings, device_mesh(settings))
    return batched.step_members(members, rng, batches_per_step)


def _batches_per_step(settings: TrainSettings, mesh: Mesh) -> int:
    return settings.accumulate_grad_batches * mesh.size


def _stack(leaves, accumulate: int, sharding: NamedSharding) -> jax.Array:
    stacked = jnp.stack(leaves)
    return shard(stacked.reshape(accumulate, -1, *stacked.shape[1:]), sharding)


def sum_over_batches(function, mesh: Mesh):
    """Returns a function that sums another one over the batches of a step.

    Args:
        function: of one batch and arguments shared by all; returns a tree of arrays.
        mesh: of `device_mesh`.

    Returns:
        A function of inputs `[accumulate, devices, ...]` and the shared arguments.
    """

    def sum_on_device(inputs, shared):
        local_inputs = jax.tree.map(lambda x: x[:, 0], inputs)
        (accumulate,) = {len(x) for x in jax.tree.leaves(local_inputs)}
        at = lambda i: function(jax.tree.map(lambda x: x[i], local_inputs), shared)
        if accumulate == 1:
            return jax.lax.psum(at(0), _AXIS)
        zeros = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(at, 0)
        )
        add = lambda total, i: (jax.tree.map(jnp.add, total, at(i)), None)
        total, _ = jax.lax.scan(add, zeros, jnp.arange(accumulate))
        return jax.lax.psum(total, _AXIS)

    return jax.shard_map(
        sum_on_device,
        mesh=mesh,
        in_specs=(PartitionSpec(None, _AXIS), PartitionSpec()),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
