"""Labels of structures: what is read, learned and compared."""

LABELS = (
    *("energy", "forces", "stress", "charges", "total_charge", "spin", "tags"),
    *("dipole", "born_charges"),
)
"""What a row may hold besides its geometry, id and group."""

TRAINABLE_KINDS = ("energy", "force", "stress", "charge", "dipole")
"""What a loss may weigh."""

ENERGY_KINDS = ("energy", "force", "stress")
"""Energies and their derivatives."""

KINDS = (*TRAINABLE_KINDS, "born")
"""What is labelled and compared."""

FIELDS = {"force": "forces", "charge": "charges", "born": "born_charges"}
"""The name of a kind's labels where it differs from the kind."""


def field_of(kind: str) -> str:
    """The name of a kind's labels.

    Args:
        kind: of `KINDS`.
    """
    return FIELDS.get(kind, kind)
