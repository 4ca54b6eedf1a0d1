"""The checks of a long-range layer on its own."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from e3nn_jax import Irreps, IrrepsArray

from .._long_range import LongRange
from ._samples import any_rotation, close


@dataclasses.dataclass(frozen=True)
class LayerCase:
    """A layer with what it is to be tried on.

    Args:
        layer: built in float64.
        channels: width of its features.
        species: atomic numbers it knows.
        periodic: in a cell, or open.
        tolerance: of what must not change; for a layer that is rotation invariant on
            average only, say how well.
    """

    layer: LongRange
    channels: int
    species: tuple[int, ...] = (1, 6, 8)
    periodic: bool = True
    tolerance: float = 1e-9

    def arguments(self, seed: int = 0, atoms: int = 5) -> dict[str, Any]:
        """Arguments of a call, the plan aside; the last atom is padding at another."""
        keys = jr.split(jr.key(seed), 3)
        components = (self.layer.degree + 1) ** 2
        shape = (atoms, components, self.channels) if components > 1 else (atoms, -1)
        features = jr.normal(keys[0], (atoms, components, self.channels))
        positions = 6 * jr.uniform(keys[1], (atoms, 3))
        cell = 7 * jnp.eye(3) + jr.uniform(keys[2], (3, 3), minval=-1.0)
        rng = np.random.default_rng(seed)
        mask = jnp.arange(atoms) < atoms - 1
        return {
            "features": features.reshape(shape),
            "positions": positions.at[-1].set(positions[0]),
            "cell": cell if self.periodic else None,
            "mask": mask,
            "species": jnp.where(mask, jnp.asarray(rng.choice(self.species, atoms)), 0),
            "total_charge": jnp.array(1.0),
            "spin": jnp.array(0),
        }

    def plan(self, given: dict[str, Any]) -> Any:
        """The layer's plan for one structure."""
        cell = given["cell"]
        plan = self.layer.plan_for(
            None if cell is None else np.asarray(cell)[None],
            np.asarray(given["positions"])[None],
            np.asarray(given["mask"])[None],
            margin=0.01,
        )
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], plan)

    def call(self, given: dict[str, Any]):
        """Update, energies and charges, with a plan of the structure's own."""
        return _call(self.layer, given, self.plan(given))


@eqx.filter_jit
def _call(layer, given, plan):
    first = [given[k] for k in ("features", "positions", "cell", "mask")]
    facts = {k: given[k] for k in ("species", "total_charge", "spin")}
    return layer(*first, plan=plan, **facts)


def check_shapes_and_padding(case: LayerCase) -> None:
    """Three results of the contract's shapes; padding is inert and exactly zero."""
    given = case.arguments()
    out = case.call(given)
    atoms = len(given["mask"])
    shapes = [x.shape for x in out]
    expected = [given["features"].shape, (atoms,), (atoms,)]
    assert shapes == expected, f"Results have shapes {shapes}, not {expected}."
    other = given | {
        "features": given["features"].at[-1].set(7.0),
        "positions": given["positions"].at[-1].add(1.0),
    }
    for a, b in zip(out, case.call(other), strict=True):
        assert np.all(np.asarray(a[-1]) == 0), "A padding atom has a result."
        close(b, a, case.tolerance, "results when a padding atom moves")


def check_layer_symmetry(case: LayerCase) -> None:
    """Rotation, inversion and translation turn the update and change nothing else."""
    given, q = case.arguments(), jnp.asarray(any_rotation())
    turned = given | {
        "features": _turned(given["features"], q),
        "positions": given["positions"] @ q.T + jnp.array([1.0, -2.0, 0.5]),
        "cell": None if given["cell"] is None else given["cell"] @ q.T,
    }
    update, *rest = case.call(given)
    close(case.call(turned)[0], _turned(update, q), case.tolerance, "a turned update")
    for a, b in zip(rest, case.call(turned)[1:], strict=True):
        close(b, a, case.tolerance, "energies and charges of a turned structure")


def check_layer_order(case: LayerCase) -> None:
    """Results follow their atoms through a permutation."""
    given = case.arguments()
    order = np.random.default_rng(0).permutation(len(given["mask"]))
    per_atom = ("features", "positions", "mask", "species")
    shuffled = given | {k: given[k][order] for k in per_atom}
    for a, b in zip(case.call(given), case.call(shuffled), strict=True):
        close(b, a[order], case.tolerance, "results of permuted atoms")


def check_layer_derivatives(case: LayerCase) -> None:
    """First and second derivatives, with a padding atom on top of another."""
    given = case.arguments()
    plan = case.plan(given)

    def value(moving):
        update, energies, charges = _call(case.layer, given | moving, plan)
        return jnp.sum(update**2) + jnp.sum(energies) + jnp.sum(charges**3)

    slope = jax.jit(jax.value_and_grad(value))
    at = {name: given[name] for name in ("positions", "features")}
    keys = dict(zip(at, jr.split(jr.key(7)), strict=True))
    # All directions at once: where the padding atom goes is of no account.
    along = {name: jr.normal(keys[name], x.shape) for name, x in at.items()}
    work = lambda x, y: sum(jnp.vdot(x[n], y[n]) for n in at)
    step = lambda t: {name: x + t * along[name] for name, x in at.items()}
    turn = jax.jit(jax.grad(lambda x: work(jax.grad(value)(x), along)))

    h = 1e-5
    values, slopes = zip(*(slope(step(t)) for t in (-h, h)), strict=True)
    first, second = slope(at)[1], turn(at)
    room = 1e-5 * max(1.0, *(float(jnp.abs(x).max()) for x in second.values()))
    found = (values[1] - values[0]) / (2 * h)
    close(found, work(first, along), room, "first derivatives")
    for name in at:
        found = (slopes[1][name] - slopes[0][name]) / (2 * h)
        close(found, second[name], room, f"second derivatives along {name}")


def check_layer_learns(case: LayerCase) -> None:
    """Every parameter has a finite gradient that is not zero, after a small push."""
    given = case.arguments()
    plan = case.plan(given)
    push = lambda x: x + 0.01 if eqx.is_inexact_array(x) else x

    @eqx.filter_jit
    @eqx.filter_grad
    def slope(layer):
        update, energies, charges = _call(layer, given, plan)
        weight = jnp.arange(1.0, 1 + len(charges))
        return jnp.sum(jnp.sin(update)) + jnp.sum(energies) + jnp.sum(weight * charges)

    found = slope(jax.tree.map(push, case.layer))
    for path, leaf in jax.tree.leaves_with_path(found):
        name = jax.tree_util.keystr(path)
        assert np.all(np.isfinite(leaf)), f"The gradient of {name} is not finite."
        assert np.any(leaf != 0), f"The gradient of {name} is zero."


def check_layer_batches(case: LayerCase) -> None:
    """Under `vmap` with one plan for two structures, each is what it is alone."""
    pair = [case.arguments(seed) for seed in (1, 2)]
    stack = lambda *leaves: jnp.stack(leaves)
    both = jax.tree.map(stack, *pair)
    cells = None if both["cell"] is None else np.asarray(both["cell"])
    plan = case.layer.plan_for(
        cells, np.asarray(both["positions"]), np.asarray(both["mask"])
    )
    plan = jax.tree.map(jnp.asarray, plan)
    together = jax.vmap(lambda given, plan: _call(case.layer, given, plan))(both, plan)
    for g, given in enumerate(pair):
        for a, b in zip(case.call(given), together, strict=True):
            close(b[g], a, case.tolerance, "results in a batch")


LAYER_CHECKS = (
    check_shapes_and_padding,
    check_layer_symmetry,
    check_layer_order,
    check_layer_derivatives,
    check_layer_learns,
    check_layer_batches,
)
"""Hold for every long-range layer. Each takes a `LayerCase`."""


def _turned(features, q):
    if features.ndim == 2:
        return features
    degree = round(features.shape[1] ** 0.5) - 1
    irreps = Irreps([(1, (d, (-1) ** d)) for d in range(degree + 1)])
    array = IrrepsArray(irreps, jnp.moveaxis(features, 1, -1))
    return jnp.moveaxis(array.transform_by_matrix(q).array, -1, 1)
