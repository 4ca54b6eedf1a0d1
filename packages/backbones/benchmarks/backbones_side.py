"""Our side of `mace_speed.py`: energies, forces (and stress), and training steps."""

import backbones as bb
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from answering import answer, settings


def main():
    given = settings()
    with np.load(given["structure"]) as file:
        structure = bb.Structure(file["numbers"], file["positions"], file["cell"])
    size = bb.MACESize(
        **given["size"] | {"radial_mlp": tuple(given["size"]["radial_mlp"])}
    )
    mace = bb.MACE(
        tuple(given["elements"]),
        size,
        cutoff=given["cutoff"],
        avg_num_neighbors=given["avg_num_neighbors"],
        key=jr.key(0),
    )
    potential = bb.Potential(mace, dict.fromkeys(given["elements"], 0.0))
    (bucket,) = bb.pack([structure], cutoff=given["cutoff"], graphs=1)
    batch = bucket.batch([0])
    optimiser = optax.adam(given["rate"])

    @eqx.filter_jit
    def evaluate(potential, batch):
        return potential(batch)

    @eqx.filter_grad
    def slope(potential, batch):
        out = potential(batch)
        return jnp.sum(out.forces**2) + jnp.sum(out.energy**2)

    @eqx.filter_jit
    def step(potential, state, batch):
        updates, state = optimiser.update(slope(potential, batch), state)
        return eqx.apply_updates(potential, updates), state

    trained = eqx.filter(potential, eqx.is_inexact_array)
    kept = {"now": (potential, optimiser.init(trained))}

    def train():
        kept["now"] = jax.block_until_ready(step(*kept["now"], batch))

    works = {
        "evaluate": lambda: jax.block_until_ready(evaluate(potential, batch)),
        "train": train,
    }
    facts = {"parameters": bb.parameter_count(mace), "edges": len(bucket.pairs[0])}
    answer(works, facts)


if __name__ == "__main__":
    main()
