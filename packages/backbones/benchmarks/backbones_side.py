"""The side of this package in `mace_speed.py`."""

import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from serving import serve, settings


def main():
    config = settings()
    with np.load(config["structure"]) as file:
        structure = bb.Structure(file["numbers"], file["positions"], file["cell"])
    size = bb.MACESize(
        **config["size"] | {"radial_mlp": tuple(config["size"]["radial_mlp"])}
    )
    mace = bb.MACE(
        tuple(config["elements"]),
        size,
        cutoff=config["cutoff"],
        avg_num_neighbors=config["avg_num_neighbors"],
        key=jr.key(0),
    )
    potential = bb.Potential(mace, dict.fromkeys(config["elements"], 0.0))
    (bucket,) = bb.pack([structure], cutoff=config["cutoff"], graphs=1)
    batch = bucket.batch([0])
    optimizer = optax.adam(config["rate"])

    @eqx.filter_jit
    def evaluate(potential, batch):
        return potential(batch)

    @eqx.filter_grad
    def loss_gradient(potential, batch):
        out = potential(batch)
        return jnp.sum(out.forces**2) + jnp.sum(out.energy**2)

    @eqx.filter_jit
    def step(potential, state, batch):
        updates, state = optimizer.update(loss_gradient(potential, batch), state)
        return eqx.apply_updates(potential, updates), state

    trainable = eqx.filter(potential, eqx.is_inexact_array)
    state = {"current": (potential, optimizer.init(trainable))}

    def train():
        state["current"] = jax.block_until_ready(step(*state["current"], batch))

    tasks = {
        "evaluate": lambda: jax.block_until_ready(evaluate(potential, batch)),
        "train": train,
    }
    properties = {"parameters": bb.parameter_count(mace), "edges": len(bucket.pairs[0])}
    serve(tasks, properties)


if __name__ == "__main__":
    main()
