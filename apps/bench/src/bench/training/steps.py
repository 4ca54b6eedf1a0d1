"""What one step of training sees: the batches of all devices, one or several each."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from backbones import Batch
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bench.batches.loading import BatchedDataset, Targets
from bench.exceptions import BenchError
from bench.execution.hosts import shard
from bench.settings.training import TrainSettings

_AXIS = "device"


def device_mesh(settings: TrainSettings) -> Mesh:
    """The devices that share each step.

    Raises:
        BenchError: there are not so many.
    """
    devices = jax.devices()
    wanted = settings.devices or len(devices)
    if wanted > len(devices):
        raise BenchError(
            f"train.devices asks for {wanted} devices and JAX finds {len(devices)}: "
            "lower it, or leave it out to use all."
        )
    return Mesh(np.array(devices[:wanted]), (_AXIS,))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """The arrays of a tree on every device, whole."""
    place = NamedSharding(mesh, PartitionSpec())
    move = lambda x: shard(x, place) if isinstance(x, jax.Array) else x
    return jax.tree.map(move, tree)


def count_steps(
    batched: BatchedDataset, members: np.ndarray, settings: TrainSettings
) -> int:
    """How many steps an epoch has."""
    return batched.count(members, _batches_a_step(settings, device_mesh(settings)))


def steps(
    batched: BatchedDataset,
    members: np.ndarray,
    atomic_energies: dict[int, float],
    rng: np.random.Generator,
    settings: TrainSettings,
    mesh: Mesh,
) -> Iterator[tuple[Batch, Targets]]:
    """Inputs and labels of an epoch, each array `[accumulate, devices, ...]`.

    Where the last batches of a shape do not fill a step, a batch is repeated whose
    labels weigh nothing.

    Args:
        batched: packed data.
        members: indices of samples.
        atomic_energies: eV by atomic number.
        rng: decides the order.
        settings: devices and accumulation.
        mesh: of `device_mesh`.
    """
    several = _batches_a_step(settings, mesh)
    place = NamedSharding(mesh, PartitionSpec(None, _AXIS))
    for group in batched.steps(members, atomic_energies, rng, several):
        batch, targets = group[-1]
        silent = (batch, targets.without_weights())
        group = group + [silent] * (several - len(group))
        yield jax.tree.map(lambda *x: _stacked(x, settings.accumulate, place), *group)


def step_members(
    batched: BatchedDataset,
    members: np.ndarray,
    rng: np.random.Generator,
    settings: TrainSettings,
) -> list[np.ndarray]:
    """Indices of the samples of each of the `steps` of an epoch.

    Args:
        batched: packed data.
        members: indices of samples.
        rng: as for `steps`.
        settings: devices and accumulation.
    """
    several = _batches_a_step(settings, device_mesh(settings))
    return batched.step_members(members, rng, several)


def _batches_a_step(settings: TrainSettings, mesh: Mesh) -> int:
    return settings.accumulate * mesh.size


def _stacked(leaves, accumulate: int, place: NamedSharding) -> jax.Array:
    every = jnp.stack(leaves)
    return shard(every.reshape(accumulate, -1, *every.shape[1:]), place)


def sum_over_batches(work, mesh: Mesh):
    """Makes a sum over the batches of a step from a function of one of them.

    Args:
        work: called with one batch and what all share; gives a tree of arrays.
        mesh: of `device_mesh`.

    Returns:
        A function of the inputs `[accumulate, devices, ...]` and what all share.
    """

    def here(inputs, shared):
        mine = jax.tree.map(lambda x: x[:, 0], inputs)
        (several,) = {len(x) for x in jax.tree.leaves(mine)}
        one = lambda i: work(jax.tree.map(lambda x: x[i], mine), shared)
        if several == 1:
            return jax.lax.psum(one(0), _AXIS)
        nothing = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, 0)
        )
        add = lambda total, i: (jax.tree.map(jnp.add, total, one(i)), None)
        total, _ = jax.lax.scan(add, nothing, jnp.arange(several))
        return jax.lax.psum(total, _AXIS)

    return jax.shard_map(
        here,
        mesh=mesh,
        in_specs=(PartitionSpec(None, _AXIS), PartitionSpec()),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
