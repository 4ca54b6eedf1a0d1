"""Weights of mace-torch's ScaleShiftMACE, as a potential of ours."""

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
from ._size import MACESize
from ._symmetric_basis import symmetric_basis
from ._torch_arrays import Arrays
from ._torch_settings import check_same_model, checked_settings

# torch-e3nn normalises silu by a constant of its own (drawn once, by Monte Carlo).
_TORCH_GAIN = 1.6791767923989418


def from_mace_torch(state: Any, settings: Mapping[str, Any]) -> Potential:
    """The potential with the weights of a plain `ScaleShiftMACE`.

    Plain: `RealAgnosticInteractionBlock`, then `RealAgnosticResidualInteractionBlock`,
    silu, hidden features of natural parity and one width, one head, no pair repulsion.
    Energies and forces agree to rounding; build it under `jax.enable_x64(True)` to
    keep float64. The arrays do not say which functions stand between them, so the
    settings are needed, and any that ours does not have is refused.

    Args:
        state: the arrays of `model.state_dict()`, by name.
        settings: the dictionary of
            `mace.tools.scripts_utils.extract_config_mace_model(model)` as plain values:
            numbers, lists, and classes and functions by name.

    Raises:
        ValueError: the model is not plain, or state and settings are not of one model;
            the message names the array or the setting.
    """
    arrays = Arrays(state)
    plain = checked_settings(settings)
    elements = tuple(int(z) for z in arrays["atomic_numbers"])
    if not elements or list(elements) != sorted(set(elements)):
        raise ValueError(f"`atomic_numbers` must ascend, got {list(elements)}.")
    size = _size(arrays, len(elements))
    cutoff = arrays.number("r_max")
    check_same_model(plain, _said(arrays, size, elements))
    _check_radial(arrays, cutoff)
    model = MACE(
        elements,
        size,
        cutoff=cutoff,
        avg_num_neighbors=plain["avg_num_neighbors"],
        key=jr.key(0),
    )
    values = {
        "embedding": arrays.shaped("node_embedding.linear.weight", len(elements), -1)
        * len(elements) ** -0.5,
        "radial.frequencies": arrays["radial_embedding.bessel_fn.bessel_weights"]
        * cutoff,
    }
    model = _put(model, values)
    converted = [
        _interaction(part, arrays, i) for i, part in enumerate(model.interactions)
    ]
    read = [_readout(part, arrays, i) for i, part in enumerate(model.readouts)]
    model = eqx.tree_at(
        lambda m: (m.interactions, m.readouts), model, (tuple(converted), tuple(read))
    )
    alone = arrays["atomic_energies_fn.atomic_energies"].reshape(-1)
    if len(alone) != len(elements):
        raise ValueError(
            f"The state has {len(alone)} atomic energies for {len(elements)} elements."
        )
    scale, shift = (arrays.number(f"scale_shift.{name}") for name in ("scale", "shift"))
    arrays.check_all_read()
    atomic_energies = {z: float(e) for z, e in zip(elements, alone, strict=True)}
    return Potential(model, atomic_energies, scale=scale, shift=shift)


def _size(state: Arrays, elements: int) -> MACESize:
    """The shapes of the model, from those of its weights."""
    count = int(state.number("num_interactions"))
    orders = {_orders(state, index) for index in range(count)}
    if len(orders) != 1:
        raise ValueError(
            f"The model has another `correlation` in each product, {sorted(orders)}; "
            "only one and the same can be converted."
        )
    contraction = "products.0.symmetric_contractions.contractions"
    degrees = sum(f"{contraction}.{d}.weights_max" in state for d in range(9))
    name = "interactions.0.conv_tp_weights.layer{}.weight"
    layers = sum(name.format(i) in state for i in range(99))
    widths = [state[name.format(i)].shape for i in range(max(layers, 1))]
    channels = state["node_embedding.linear.weight"].size // elements
    l_max = round(state[f"{contraction}.0.U_matrix_1"].shape[0] ** 0.5) - 1
    if state["interactions.0.skip_tp.weight"].size != (
        (l_max + 1) * elements * channels**2
    ):
        raise ValueError(
            "The first interaction is not a RealAgnosticInteractionBlock: only models "
            "that start with one can be converted."
        )
    return MACESize(
        channels=channels,
        hidden_degree=degrees - 1,
        l_max=l_max,
        correlation=orders.pop(),
        num_interactions=count,
        num_bessel=widths[0][0],
        radial_mlp=tuple(out for _, out in widths[:-1]),
        readout_width=state[f"readouts.{count - 1}.linear_1.weight"].size // channels,
        envelope_exponent=int(state.number("radial_embedding.cutoff_fn.p")),
    )


def _orders(state: Arrays, index: int) -> int:
    name = f"products.{index}.symmetric_contractions.contractions.0.U_matrix_"
    return sum(f"{name}{n}" in state for n in range(1, 9))


def _said(state: Arrays, size: MACESize, elements: tuple[int, ...]) -> dict[str, Any]:
    """What mace-torch would report of these arrays."""
    parity = lambda degree: "eo"[degree % 2]
    hidden = [f"{size.channels}x{d}{parity(d)}" for d in range(size.hidden_degree + 1)]
    return {
        "r_max": state.number("r_max"),
        "num_bessel": size.num_bessel,
        "num_polynomial_cutoff": state.number("radial_embedding.cutoff_fn.p"),
        "max_ell": size.l_max,
        "num_interactions": size.num_interactions,
        "num_elements": len(elements),
        "hidden_irreps": "+".join(hidden),
        "MLP_irreps": f"{size.readout_width}x0e",
        "atomic_numbers": list(elements),
        "correlation": size.correlation,
        "radial_MLP": list(size.radial_mlp),
    }


def _check_radial(state: Arrays, cutoff: float) -> None:
    """Refuses constants of the radial functions that ours does not have."""
    expected = {
        "bessel_fn.r_max": cutoff,
        "cutoff_fn.r_max": cutoff,
        "bessel_fn.prefactor": (2 / cutoff) ** 0.5,
    }
    for name, value in expected.items():
        path = f"radial_embedding.{name}"
        if path in state and not np.isclose(state.number(path), value, rtol=1e-6):
            raise ValueError(
                f"The state has {path}={state.number(path)}; only {value} goes with "
                f"r_max={cutoff}."
            )


def _interaction(part: Interaction, state: Arrays, index: int) -> Interaction:
    """One interaction and the product that follows it."""
    at = lambda name, *shape: state.shaped(
        f"interactions.{index}.{name}.weight", *shape
    )
    channels = part.up.maps[0].weight.shape[0]
    square = lambda name: at(name, -1, channels, channels)
    convolution = part.convolution
    ours = paths(convolution.input_degree, convolution.degree)
    # Theirs are sorted by the degree of the message.
    theirs = sorted(range(len(ours)), key=lambda p: ours[p][2])
    last = len(convolution.radial.layers) - 1
    radial = _perceptron(
        convolution.radial,
        [
            at(f"conv_tp_weights.layer{i}", *layer.weight.shape)
            for i, layer in enumerate(convolution.radial.layers)
        ],
    )
    columns = radial.layers[last].weight.reshape(-1, len(ours), channels)
    # Their edges point from the sender: odd harmonics change sign.
    sign = jnp.array([(-1.0) ** b for _, b, _ in ours])[:, None]
    columns = columns[:, np.argsort(theirs)] * sign
    radial = _put(radial, {f"layers.{last}.weight": columns.reshape(len(columns), -1)})

    messages = [ours[p][2] for p in theirs]
    blocks = square("linear")
    mix = {
        f"convolution.mix.maps.{d}.weight": np.concatenate(
            [b for b, degree in zip(blocks, messages, strict=True) if degree == d]
        )
        for d in range(convolution.degree + 1)
    }
    elements, degrees = part.skip.weight.shape[:2]
    skip = at("skip_tp", degrees, channels, elements, channels)
    product = f"products.{index}"
    down = state.shaped(f"{product}.linear.weight", len(part.down), channels, channels)
    values = {f"up.maps.{d}.weight": w for d, w in enumerate(square("linear_up"))}
    values |= {f"down.{d}.weight": w for d, w in enumerate(down)} | mix
    values["skip.weight"] = np.transpose(skip, (2, 0, 1, 3)) * elements**-0.5
    values |= {
        f"contraction.weights.{d}": _contraction(part, state, product, d)
        for d in range(len(part.contraction.weights))
    }
    return eqx.tree_at(lambda p: p.convolution.radial, _put(part, values), radial)


def _contraction(
    part: Interaction, state: Arrays, product: str, degree: int
) -> np.ndarray:
    """Weights of our basis of symmetric polynomials, from those of theirs."""
    name = f"{product}.symmetric_contractions.contractions.{degree}"
    l_max, correlation = part.contraction.degree, part.contraction.correlation
    found = []
    for order in range(1, correlation + 1):
        which = (
            "weights_max"
            if order == correlation
            else (f"weights.{correlation - 1 - order}")
        )
        table = state[f"{name}.U_matrix_{order}"]
        table = table[None] if degree == 0 else table
        found.append(
            np.einsum(
                "bp,zpc->zbc",
                _change_of_basis(table, l_max, degree, order),
                state[f"{name}.{which}"],
            )
        )
    return np.concatenate(found, axis=1)


def _change_of_basis(
    theirs: np.ndarray, l_max: int, degree: int, order: int
) -> np.ndarray:
    """Our coefficients of each of their couplings, `[basis, paths]`.

    Args:
        theirs: `[2 degree + 1, size, ..., size, paths]`, not symmetric.
        l_max: highest degree of the factors.
        degree: of the product.
        order: number of factors.
    """
    ours = symmetric_basis(l_max, degree, order)
    size = (l_max + 1) ** 2
    rank = {tuple(m): i for i, m in enumerate(ours.monomials)}
    columns = np.array(
        [rank.get(tuple(sorted(i)), -1) for i in np.ndindex(*(size,) * order)]
    )
    rows = theirs.shape[-1] * len(theirs)  # of paths, then components
    flat = np.moveaxis(theirs, -1, 0).reshape(rows, -1)
    folded = np.zeros((len(rank) + 1, rows))
    np.add.at(folded, columns, flat.T)
    basis = ours.table.reshape(len(ours.table), -1)
    target = folded[:-1].T.reshape(theirs.shape[-1], -1)
    found, *_ = np.linalg.lstsq(basis.T, target.T)
    error = np.abs(basis.T @ found - target.T).max() + np.abs(folded[-1]).max()
    allowed = 1e-10 if theirs.dtype == np.float64 else 1e-6
    if error > allowed * max(1.0, np.abs(target).max()):
        raise ValueError(
            f"The couplings of order {order} to degree {degree} in the state are not "
            f"equivariant in our convention (error {error:.1e}): were they made with "
            "another order of components?"
        )
    return found


def _readout(part: Linear | Perceptron, state: Arrays, index: int):
    if isinstance(part, Linear):
        weight = state.shaped(f"readouts.{index}.linear.weight", -1, 1)
        return _put(part, {"weight": weight})
    first, second = (
        state.shaped(f"readouts.{index}.linear_{n}.weight", *layer.weight.shape)
        for n, layer in zip((1, 2), part.layers, strict=True)
    )
    return _perceptron(part, [first, second])


def _perceptron(part: Perceptron, weights) -> Perceptron:
    """Their gain of silu is folded into the weights that follow it."""
    fold = _TORCH_GAIN / GAIN["silu"]
    values = {
        f"layers.{i}.weight": w if i == 0 else fold * w for i, w in enumerate(weights)
    }
    return _put(part, values)


def _put[Tree](tree: Tree, values: Mapping[str, Any]) -> Tree:
    """The tree with the leaves at these paths replaced; shapes must agree."""
    for path, value in values.items():
        leaf = _at(tree, path)
        if leaf.shape != value.shape:
            raise ValueError(
                f"The weights for `{path}` have shape {value.shape}, but the model "
                f"needs {leaf.shape}: the state is not that of a plain model."
            )
        tree = eqx.tree_at(
            lambda t, path=path: _at(t, path), tree, jnp.asarray(value, leaf.dtype)
        )
    return tree


def _at(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree[int(name)] if name.isdecimal() else getattr(tree, name)
    return tree
