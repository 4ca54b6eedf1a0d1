"""Kinds of labels of structures."""

LABELS = (
    *("energy", "forces", "stress", "charges", "total_charge", "spin", "tags"),
    *("dipole", "born_charges"),
)
"""Fields that a structure may have besides geometry, id and group."""

TRAINABLE_KINDS = ("energy", "force", "stress", "charge", "dipole")
"""Kinds that a loss may contain."""

ENERGY_KINDS = ("energy", "force", "stress")
"""Energies and their derivatives."""

KINDS = (*TRAINABLE_KINDS, "born")
"""Kinds for which errors are computed."""

FIELDS = {"force": "forces", "charge": "charges", "born": "born_charges"}
"""Names of the fields of kinds, where they differ from the kind."""


def field_of(kind: str) -> str:
    """Returns the name of the field that stores a kind of label.

    Args:
        kind: one of `KINDS`.
    """
    return FIELDS.get(kind, kind)
