"""Hyperparameters of mace-torch's models, as implied by their arrays."""

from typing import Any

import numpy as np

from ._size import MACESize
from ._torch_arrays import Arrays


def size_of(state: Arrays, elements: int) -> MACESize:
    """Returns the hyperparameters, from the shapes of the weights.

    Args:
        state: arrays of the model.
        elements: number of elements.

    Raises:
        ValueError: the model is not plain.
    """
    count = int(state.number("num_interactions"))
    orders = {_orders(state, index) for index in range(count)}
    if len(orders) != 1:
        raise ValueError(
            f"The model has products of different `correlation`, {sorted(orders)}; "
            "only equal ones can be converted."
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
            "with it can be converted."
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
    """Returns the correlation order of a product."""
    name = f"products.{index}.symmetric_contractions.contractions.0.U_matrix_"
    return sum(f"{name}{n}" in state for n in range(1, 9))


def implied_settings(
    state: Arrays, size: MACESize, elements: tuple[int, ...]
) -> dict[str, Any]:
    """Returns the settings that mace-torch would extract for these arrays.

    Args:
        state: arrays of the model.
        size: hyperparameters of the model.
        elements: atomic numbers.
    """
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


def check_radial(state: Arrays, cutoff: float) -> None:
    """Raises an error for constants of other radial functions.

    Args:
        state: arrays of the model.
        cutoff: Å.

    Raises:
        ValueError: a constant differs from that of the Bessel functions.
    """
    expected = {
        "bessel_fn.r_max": cutoff,
        "cutoff_fn.r_max": cutoff,
        "bessel_fn.prefactor": (2 / cutoff) ** 0.5,
    }
    for name, value in expected.items():
        path = f"radial_embedding.{name}"
        if path in state and not np.isclose(state.number(path), value, rtol=1e-6):
            raise ValueError(
                f"The state has {path}={state.number(path)}; with r_max={cutoff} only "
                f"{value} can be converted."
            )
