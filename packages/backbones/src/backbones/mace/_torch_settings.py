"""What mace-torch reports of a model's configuration, and what can be converted."""

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

# A model with any other value is another function of the positions.
_ONLY = {
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
# The arrays say these as well, so they tell whether both are of one model.
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
# Read from the arrays alone; the couplings of both kinds are among them.
_UNREAD = {
    "atomic_energies",
    "atomic_inter_scale",
    "atomic_inter_shift",
    "use_reduced_cg",
}
_REQUIRED = {*_ONLY, *_IN_ARRAYS, "avg_num_neighbors", "heads"}

_NAMED = re.compile(r"<(?:class|function|built-in \w+) '?(?:\w+\.)*(\w+)'?[^<>]*>")


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as plain values, refused unless ours is the same function.

    Args:
        settings: of `mace.tools.scripts_utils.extract_config_mace_model`, as plain
            values or as the texts of `convert_to_json_format`.

    Raises:
        ValueError: a setting is missing, unknown or of another value than the one that
            can be converted; the message names it.
    """
    if not isinstance(settings, Mapping):
        raise ValueError(
            f"`settings` is a {type(settings).__name__}; expected the dictionary that "
            "`extract_config_mace_model` of mace-torch gives."
        )
    if "error" in settings:
        raise ValueError(f"mace-torch cannot describe it: {settings['error']}")
    plain = {name: _plain(value) for name, value in settings.items()}
    missing = sorted(_REQUIRED - set(plain))
    if missing:
        raise ValueError(
            f"`settings` lacks {missing[0]!r}: pass all that "
            "`extract_config_mace_model` of mace-torch 0.3.16 or later gives."
        )
    unknown = sorted(map(str, set(plain) - _REQUIRED - _UNREAD))
    if unknown:
        raise ValueError(
            f"`settings` has {unknown[0]!r}, which is not known here, so the model may "
            "be another function of the positions."
        )
    _check_counts(plain)
    for name, only in _ONLY.items():
        value = None if only is None and plain[name] == "None" else plain[name]
        if type(value) is not type(only) or value != only:
            raise ValueError(
                f"The model has {name}={value!r}; only {only!r} can be converted."
            )
    return plain


def check_same_model(settings: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuses settings that are not those of the arrays.

    Args:
        settings: plain.
        found: what the arrays say, by the names of the settings.

    Raises:
        ValueError: two values differ; the message names the setting.
    """
    for name in sorted(_IN_ARRAYS):
        said, read = settings[name], found[name]
        if isinstance(read, int | float) and isinstance(said, int | float):
            same = math.isclose(said, read, rel_tol=1e-6)
        else:
            same = said == read
        if not same:
            raise ValueError(
                f"`settings` has {name}={said!r} and the arrays say {read!r}: they are "
                "not those of one model, or the model cannot be converted."
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
    """Texts of numbers, lists and names as what they stand for."""
    if isinstance(value, tuple):
        return list(value)
    if not isinstance(value, str):
        return value
    named = _NAMED.fullmatch(value)
    if named:
        return named[1]
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value
