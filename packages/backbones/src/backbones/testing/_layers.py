"""Checks of a long-range layer alone."""

import dataclasses
import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from e3nn_jax import Irreps, IrrepsArray

from .._installed import from_arguments
from .._long_range import LongRange
from .._model_file import same_architecture
from ._samples import close, improper_rotation


@dataclasses.dataclass(frozen=True)
class LayerCase:
    """A layer and the structures for its checks.

    Args:
        layer: built in float64.
        channels: number of channels of its features.
        species: atomic numbers that it supports.
        periodic: whether the structures have a cell.
        tolerance: of the invariances, relative and absolute; larger for a layer that
            is only approximately rotation invariant.
    """

    layer: LongRange
    channels: int
    species: tuple[int, ...] = (1, 6, 8)
    periodic: bool = True
    tolerance: float = 1e-9

    def arguments(self, seed: int = 0, atoms: int = 5) -> dict[str, Any]:
        """Returns the arguments of a call, without the plan.

        Args:
            seed: of features, positions, cell and elements.
            atoms: number of atoms; the last is padding, at the position of the first.
        """
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

    def plan(self, arguments: dict[str, Any]) -> Any:
        """Returns the layer's plan for one structure.

        Args:
            arguments: of a call, see `arguments`.
        """
        cell = arguments["cell"]
        plan = self.layer.plan_for(
            None if cell is None else np.asarray(cell)[None],
            np.asarray(arguments["positions"])[None],
            np.asarray(arguments["mask"])[None],
            margin=0.01,
        )
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], plan)

    def call(self, arguments: dict[str, Any]):
        """Returns update, energies and charges, with a new plan for the structure.

        Args:
            arguments: of a call, see `arguments`.
        """
        return _call(self.layer, arguments, self.plan(arguments))


@eqx.filter_jit
def _call(layer, arguments, plan):
    positional = [arguments[k] for k in ("features", "positions", "cell", "mask")]
    properties = {k: arguments[k] for k in ("species", "total_charge", "spin")}
    return layer(*positional, plan=plan, **properties)


def check_shapes_and_padding(case: LayerCase) -> None:
    """Checks the shapes of the results, and that they are zero on padding."""
    arguments = case.arguments()
    out = case.call(arguments)
    atoms = len(arguments["mask"])
    shapes = [x.shape for x in out]
    expected = [arguments["features"].shape, (atoms,), (atoms,)]
    assert shapes == expected, f"Results have shapes {shapes}, not {expected}."
    other = arguments | {
        "features": arguments["features"].at[-1].set(7.0),
        "positions": arguments["positions"].at[-1].add(1.0),
    }
    for a, b in zip(out, case.call(other), strict=True):
        assert np.all(np.asarray(a[-1]) == 0), "A padding atom has a result."
        close(b, a, case.tolerance, "results when a padding atom moves")


def check_layer_symmetry(case: LayerCase) -> None:
    """Checks invariance of the results and equivariance of the update."""
    arguments, q = case.arguments(), jnp.asarray(improper_rotation())
    rotated = arguments | {
        "features": _rotated(arguments["features"], q),
        "positions": arguments["positions"] @ q.T + jnp.array([1.0, -2.0, 0.5]),
        "cell": None if arguments["cell"] is None else arguments["cell"] @ q.T,
    }
    update, *rest = case.call(arguments)
    close(
        case.call(rotated)[0], _rotated(update, q), case.tolerance, "a rotated update"
    )
    for a, b in zip(rest, case.call(rotated)[1:], strict=True):
        close(b, a, case.tolerance, "energies and charges of a rotated structure")


def check_layer_permutation(case: LayerCase) -> None:
    """Checks equivariance under permutation of the atoms."""
    arguments = case.arguments()
    order = np.random.default_rng(0).permutation(len(arguments["mask"]))
    per_atom = ("features", "positions", "mask", "species")
    shuffled = arguments | {k: arguments[k][order] for k in per_atom}
    for a, b in zip(case.call(arguments), case.call(shuffled), strict=True):
        close(b, a[order], case.tolerance, "results of permuted atoms")


def check_layer_derivatives(case: LayerCase) -> None:
    """Checks first and second derivatives against finite differences."""
    arguments = case.arguments()
    plan = case.plan(arguments)

    def value(moving):
        update, energies, charges = _call(case.layer, arguments | moving, plan)
        return jnp.sum(update**2) + jnp.sum(energies) + jnp.sum(charges**3)

    value_and_grad = jax.jit(jax.value_and_grad(value))
    start = {name: arguments[name] for name in ("positions", "features")}
    keys = dict(zip(start, jr.split(jr.key(7)), strict=True))
    # One direction in all variables; the padding atom moves too, without effect.
    direction = {name: jr.normal(keys[name], x.shape) for name, x in start.items()}
    dot = lambda x, y: sum(jnp.vdot(x[n], y[n]) for n in start)
    step = lambda t: {name: x + t * direction[name] for name, x in start.items()}
    hessian_product = jax.jit(jax.grad(lambda x: dot(jax.grad(value)(x), direction)))

    h = 1e-5
    values, gradients = zip(*(value_and_grad(step(t)) for t in (-h, h)), strict=True)
    first, second = value_and_grad(start)[1], hessian_product(start)
    tolerance = 1e-5 * max(1.0, *(float(jnp.abs(x).max()) for x in second.values()))
    difference = (values[1] - values[0]) / (2 * h)
    close(difference, dot(first, direction), tolerance, "first derivatives")
    for name in start:
        difference = (gradients[1][name] - gradients[0][name]) / (2 * h)
        close(difference, second[name], tolerance, f"second derivatives along {name}")


def check_layer_parameter_gradients(case: LayerCase) -> None:
    """Checks that all parameters have finite gradients that are not zero.

    The parameters are perturbed before, because some are zero at the start.
    """
    arguments = case.arguments()
    plan = case.plan(arguments)
    perturb = lambda x: x + 0.01 if eqx.is_inexact_array(x) else x

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(layer):
        update, energies, charges = _call(layer, arguments, plan)
        weight = jnp.arange(1.0, 1 + len(charges))
        return jnp.sum(jnp.sin(update)) + jnp.sum(energies) + jnp.sum(weight * charges)

    gradients = gradient(jax.tree.map(perturb, case.layer))
    for path, leaf in jax.tree.leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.all(np.isfinite(leaf)), f"The gradient of {name} is not finite."
        assert np.any(leaf != 0), f"The gradient of {name} is zero."


def check_layer_batches(case: LayerCase) -> None:
    """Checks that `vmap` with one plan gives the results of single structures."""
    singles = [case.arguments(seed) for seed in (1, 2)]
    stack = lambda *leaves: jnp.stack(leaves)
    both = jax.tree.map(stack, *singles)
    cells = None if both["cell"] is None else np.asarray(both["cell"])
    plan = case.layer.plan_for(
        cells, np.asarray(both["positions"]), np.asarray(both["mask"])
    )
    plan = jax.tree.map(jnp.asarray, plan)
    batched = jax.vmap(lambda arguments, plan: _call(case.layer, arguments, plan))(
        both, plan
    )
    for g, arguments in enumerate(singles):
        for a, b in zip(case.call(arguments), batched, strict=True):
            close(b[g], a, case.tolerance, "results in a batch")


def check_layer_arguments(case: LayerCase) -> None:
    """Checks that the layer's `arguments` give the same layer, except for its weights.

    A layer without `arguments`, which `save` rejects, passes.
    """
    layer: Any = case.layer
    if not hasattr(layer, "arguments"):
        return
    arguments = json.loads(json.dumps(layer.arguments()))
    rebuilt = eqx.filter_eval_shape(
        lambda key: from_arguments(type(layer), arguments, key=key), jr.key(0)
    )
    assert same_architecture(layer, rebuilt), f"{arguments} give another layer."


LAYER_CHECKS = (
    check_layer_arguments,
    check_shapes_and_padding,
    check_layer_symmetry,
    check_layer_permutation,
    check_layer_derivatives,
    check_layer_parameter_gradients,
    check_layer_batches,
)
"""Checks of all long-range layers. Each takes a `LayerCase`."""


def _rotated(features, q):
    if features.ndim == 2:
        return features
    degree = round(features.shape[1] ** 0.5) - 1
    irreps = Irreps([(1, (d, (-1) ** d)) for d in range(degree + 1)])
    array = IrrepsArray(irreps, jnp.moveaxis(features, 1, -1))
    return jnp.moveaxis(array.transform_by_matrix(q).array, -1, 1)
