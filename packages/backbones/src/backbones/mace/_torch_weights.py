"""Conversion of mace-torch's ScaleShiftMACE to a potential of this package."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .._networks import GAIN, Linear, Perceptron
from .._potential import Potential
from ._convolution import paths
from ._interaction import Interaction
from ._mace import MACE
from ._symmetric_basis import symmetric_basis
from ._torch_arrays import Arrays
from ._torch_settings import check_same_model, checked_settings
from ._torch_size import check_radial, implied_settings, size_of

# The constant by which e3nn for PyTorch normalizes silu, a Monte Carlo estimate.
_TORCH_GAIN = 1.6791767923989418


def from_mace_torch(state: Any, settings: Mapping[str, Any]) -> Potential:
    """Returns the potential with the weights of a plain `ScaleShiftMACE`.

    Plain models have a `RealAgnosticInteractionBlock`, then
    `RealAgnosticResidualInteractionBlock`s, silu, hidden features of natural parity and
    equal multiplicity, one head and no pair repulsion. Energies and forces agree to
    within rounding; call this under `jax.enable_x64(True)` to keep float64. The
    settings are needed because the arrays do not record the activation functions.

    Args:
        state: arrays of `model.state_dict()`, by name.
        settings: dictionary of
            `mace.tools.scripts_utils.extract_config_mace_model(model)` as plain values:
            numbers, lists, and classes and functions by name.

    Raises:
        ValueError: the model is not plain, or state and settings belong to different
            models; the message names the array or the setting.
    """
    arrays = Arrays(state)
    checked = checked_settings(settings)
    elements = tuple(int(z) for z in arrays["atomic_numbers"])
    if not elements or list(elements) != sorted(set(elements)):
        raise ValueError(f"`atomic_numbers` must be ascending, got {list(elements)}.")
    size = size_of(arrays, len(elements))
    cutoff = arrays.number("r_max")
    check_same_model(checked, implied_settings(arrays, size, elements))
    check_radial(arrays, cutoff)
    model = MACE(
        elements,
        size,
        cutoff=cutoff,
        avg_num_neighbors=checked["avg_num_neighbors"],
        key=jr.key(0),
    )
    values = {
        "embedding": arrays.shaped("node_embedding.linear.weight", len(elements), -1)
        * len(elements) ** -0.5,
        "radial.frequencies": arrays["radial_embedding.bessel_fn.bessel_weights"]
        * cutoff,
    }
    model = _with_leaves(model, values)
    converted = [
        _interaction(part, arrays, i) for i, part in enumerate(model.interactions)
    ]
    readouts = [_readout(part, arrays, i) for i, part in enumerate(model.readouts)]
    model = eqx.tree_at(
        lambda m: (m.interactions, m.readouts),
        model,
        (tuple(converted), tuple(readouts)),
    )
    energies = arrays["atomic_energies_fn.atomic_energies"].reshape(-1)
    if len(energies) != len(elements):
        raise ValueError(
            f"The state has {len(energies)} atomic energies for {len(elements)} "
            "elements."
        )
    scale, shift = (arrays.number(f"scale_shift.{name}") for name in ("scale", "shift"))
    arrays.check_all_read()
    atomic_energies = {z: float(e) for z, e in zip(elements, energies, strict=True)}
    return Potential(model, atomic_energies, scale=scale, shift=shift)


def _interaction(part: Interaction, state: Arrays, index: int) -> Interaction:
    """Returns an interaction and its product basis with mace-torch's weights."""
    weight = lambda name, *shape: state.shaped(
        f"interactions.{index}.{name}.weight", *shape
    )
    channels = part.up.maps[0].weight.shape[0]
    square_weights = lambda name: weight(name, -1, channels, channels)
    convolution = part.convolution
    ours = paths(convolution.input_degree, convolution.degree)
    # The couplings of mace-torch are sorted by the degree of the message.
    theirs = sorted(range(len(ours)), key=lambda p: ours[p][2])
    last = len(convolution.radial.layers) - 1
    radial = _perceptron(
        convolution.radial,
        [
            weight(f"conv_tp_weights.layer{i}", *layer.weight.shape)
            for i, layer in enumerate(convolution.radial.layers)
        ],
    )
    columns = radial.layers[last].weight.reshape(-1, len(ours), channels)
    # Edge vectors of mace-torch start at the sender: odd harmonics change sign.
    sign = jnp.array([(-1.0) ** b for _, b, _ in ours])[:, None]
    columns = columns[:, np.argsort(theirs)] * sign
    radial = _with_leaves(
        radial, {f"layers.{last}.weight": columns.reshape(len(columns), -1)}
    )

    message_degrees = [ours[p][2] for p in theirs]
    blocks = square_weights("linear")
    mix = {
        f"convolution.mix.maps.{d}.weight": np.concatenate(
            [
                b
                for b, degree in zip(blocks, message_degrees, strict=True)
                if degree == d
            ]
        )
        for d in range(convolution.degree + 1)
    }
    elements, degrees = part.skip.weight.shape[:2]
    skip = weight("skip_tp", degrees, channels, elements, channels)
    product = f"products.{index}"
    down = state.shaped(f"{product}.linear.weight", len(part.down), channels, channels)
    values = {
        f"up.maps.{d}.weight": w for d, w in enumerate(square_weights("linear_up"))
    }
    values |= {f"down.{d}.weight": w for d, w in enumerate(down)} | mix
    values["skip.weight"] = np.transpose(skip, (2, 0, 1, 3)) * elements**-0.5
    values |= {
        f"contraction.weights.{d}": _contraction(part, state, product, d)
        for d in range(len(part.contraction.weights))
    }
    return eqx.tree_at(
        lambda p: p.convolution.radial, _with_leaves(part, values), radial
    )


def _contraction(
    part: Interaction, state: Arrays, product: str, degree: int
) -> np.ndarray:
    """Returns the weights in our basis of symmetric polynomials."""
    name = f"{product}.symmetric_contractions.contractions.{degree}"
    l_max, correlation = part.contraction.degree, part.contraction.correlation
    weights = []
    for order in range(1, correlation + 1):
        weights_name = (
            "weights_max"
            if order == correlation
            else (f"weights.{correlation - 1 - order}")
        )
        table = state[f"{name}.U_matrix_{order}"]
        table = table[None] if degree == 0 else table
        weights.append(
            np.einsum(
                "bp,zpc->zbc",
                _change_of_basis(table, l_max, degree, order),
                state[f"{name}.{weights_name}"],
            )
        )
    return np.concatenate(weights, axis=1)


def _change_of_basis(
    theirs: np.ndarray, l_max: int, degree: int, order: int
) -> np.ndarray:
    """Returns mace-torch's couplings in our symmetric basis, `[basis, paths]`.

    Args:
        theirs: couplings, `[2 degree + 1, size, ..., size, paths]`, not symmetric.
        l_max: highest degree of the factors.
        degree: degree of the product.
        order: number of factors.

    Raises:
        ValueError: the couplings are not in the span of our basis.
    """
    ours = symmetric_basis(l_max, degree, order)
    size = (l_max + 1) ** 2
    position = {tuple(m): i for i, m in enumerate(ours.monomials)}
    columns = np.array(
        [position.get(tuple(sorted(i)), -1) for i in np.ndindex(*(size,) * order)]
    )
    rows = theirs.shape[-1] * len(theirs)  # ordered by path, then component
    flat = np.moveaxis(theirs, -1, 0).reshape(rows, -1)
    summed = np.zeros((len(position) + 1, rows))
    np.add.at(summed, columns, flat.T)
    basis = ours.table.reshape(len(ours.table), -1)
    target = summed[:-1].T.reshape(theirs.shape[-1], -1)
    coefficients, *_ = np.linalg.lstsq(basis.T, target.T)
    error = np.abs(basis.T @ coefficients - target.T).max() + np.abs(summed[-1]).max()
    allowed = 1e-10 if theirs.dtype == np.float64 else 1e-6
    if error > allowed * max(1.0, np.abs(target).max()):
        raise ValueError(
            f"The couplings of order {order} to degree {degree} in the state are not "
            f"equivariant in the e3nn convention (error {error:.1e}): check the order "
            "of their components."
        )
    return coefficients


def _readout(part: Linear | Perceptron, state: Arrays, index: int):
    """Returns a readout with the weights of mace-torch."""
    if isinstance(part, Linear):
        weight = state.shaped(f"readouts.{index}.linear.weight", -1, 1)
        return _with_leaves(part, {"weight": weight})
    first, second = (
        state.shaped(f"readouts.{index}.linear_{n}.weight", *layer.weight.shape)
        for n, layer in zip((1, 2), part.layers, strict=True)
    )
    return _perceptron(part, [first, second])


def _perceptron(part: Perceptron, weights) -> Perceptron:
    """Returns a perceptron with mace-torch's weights, rescaled to our silu."""
    ratio = _TORCH_GAIN / GAIN["silu"]
    values = {
        f"layers.{i}.weight": w if i == 0 else ratio * w for i, w in enumerate(weights)
    }
    return _with_leaves(part, values)


def _with_leaves[Tree](tree: Tree, values: Mapping[str, Any]) -> Tree:
    """Returns the tree with the leaves at the given paths replaced."""
    for path, value in values.items():
        leaf = _leaf(tree, path)
        if leaf.shape != value.shape:
            raise ValueError(
                f"The weights for `{path}` have shape {value.shape}, but the model "
                f"needs {leaf.shape}: the state does not belong to a plain model."
            )
        tree = eqx.tree_at(
            lambda t, path=path: _leaf(t, path), tree, jnp.asarray(value, leaf.dtype)
        )
    return tree


def _leaf(tree: Any, path: str) -> Any:
    """Returns the leaf at a path such as `mix.maps.0.weight`."""
    for name in path.split("."):
        tree = tree[int(name)] if name.isdecimal() else getattr(tree, name)
    return tree
