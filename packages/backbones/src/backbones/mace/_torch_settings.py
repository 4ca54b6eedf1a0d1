"""The configuration of a mace-torch model, and the checks before its conversion."""

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

# The values that can be converted; others give another function of the positions.
_SUPPORTED = {
    "gate": "silu",
    "apply_cutoff": True,
    "interaction_cls_first": "RealAgnosticInteractionBlock",
    "interaction_cls": "RealAgnosticResidualInteractionBlock",
    "readout_cls": "NonLinearReadoutBlock",
    "radial_type": "bessel",
    "distance_transform": None,
    "pair_repulsion": False,
    "edge_irreps": None,
    "embedding_specs": None,
    "cueq_config": None,
    "use_so3": False,
    "use_edge_irreps_first": False,
    "use_agnostic_product": False,
    "use_last_readout_only": False,
    "use_embedding_readout": False,
}
# The arrays determine these too, which shows whether both are of the same model.
_IN_ARRAYS = {
    "r_max",
    "num_bessel",
    "num_polynomial_cutoff",
    "max_ell",
    "num_interactions",
    "num_elements",
    "hidden_irreps",
    "MLP_irreps",
    "atomic_numbers",
    "correlation",
    "radial_MLP",
}
# These are read from the arrays only, which include the couplings.
_UNUSED = {
    "atomic_energies",
    "atomic_inter_scale",
    "atomic_inter_shift",
    "use_reduced_cg",
}
_REQUIRED = {*_SUPPORTED, *_IN_ARRAYS, "avg_num_neighbors", "heads"}

_REPR = re.compile(r"<(?:class|function|built-in \w+) '?(?:\w+\.)*(\w+)'?[^<>]*>")


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings as plain values, after a check that they are supported.

    Args:
        settings: of `mace.tools.scripts_utils.extract_config_mace_model`, as plain
            values or as strings of `convert_to_json_format`.

    Raises:
        ValueError: a setting is missing, unknown or not supported; the message names
            it.
    """
    if not isinstance(settings, Mapping):
        raise ValueError(
            f"`settings` is a {type(settings).__name__}; expected the dictionary that "
            "`extract_config_mace_model` of mace-torch returns."
        )
    if "error" in settings:
        raise ValueError(
            f"mace-torch has no configuration of the model: {settings['error']}"
        )
    plain = {name: _plain(value) for name, value in settings.items()}
    missing = sorted(_REQUIRED - set(plain))
    if missing:
        raise ValueError(
            f"`settings` lacks {missing[0]!r}: pass the complete result of "
            "`extract_config_mace_model` of mace-torch 0.3.16 or later."
        )
    unknown = sorted(map(str, set(plain) - _REQUIRED - _UNUSED))
    if unknown:
        raise ValueError(
            f"`settings` has {unknown[0]!r}, which is unknown, so the model may be "
            "another function of the positions."
        )
    _check_counts(plain)
    for name, supported in _SUPPORTED.items():
        value = plain[name]
        if supported is None and value == "None":
            value = None
        if type(value) is not type(supported) or value != supported:
            raise ValueError(
                f"The model has {name}={value!r}; only {supported!r} can be converted."
            )
    return plain


def check_same_model(
    settings: Mapping[str, Any], from_arrays: Mapping[str, Any]
) -> None:
    """Raises an error unless settings and arrays are of the same model.

    Args:
        settings: as plain values.
        from_arrays: the values that the arrays imply, by name of the setting.

    Raises:
        ValueError: two values differ; the message names the setting.
    """
    for name in sorted(_IN_ARRAYS):
        value, implied = settings[name], from_arrays[name]
        if isinstance(implied, int | float) and isinstance(value, int | float):
            same = math.isclose(value, implied, rel_tol=1e-6)
        else:
            same = value == implied
        if not same:
            raise ValueError(
                f"`settings` has {name}={value!r} but the arrays have {implied!r}: "
                "they are of different models, or the model cannot be converted."
            )


def _check_counts(plain: Mapping[str, Any]) -> None:
    if plain["num_interactions"] == 1:
        raise ValueError(
            "The model has num_interactions=1, whose readout is linear; only models "
            "with 2 or more interactions can be converted."
        )
    heads = plain["heads"]
    if not isinstance(heads, list) or len(heads) != 1:
        raise ValueError(f"The model has heads={heads!r}; only one can be converted.")
    scale = plain["avg_num_neighbors"]
    if not isinstance(scale, int | float) or not 0 < scale < math.inf:
        raise ValueError(
            f"`settings` has avg_num_neighbors={scale!r}; expected a positive number."
        )


def _plain(value: Any) -> Any:
    """Returns the value of a string that is a number, a list or the repr of a class."""
    if isinstance(value, tuple):
        return list(value)
    if not isinstance(value, str):
        return value
    match = _REPR.fullmatch(value)
    if match:
        return match[1]
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value
