"""The table of labels: everything that differs between them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, Self

ERROR_SCALE = 1000.0
"""Errors are in thousandths of the units of the labels, such as meV/Å."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Label:
    """One label of structures: what it is, how it is stored, read and compared.

    Args:
        name: of the field of structures and predictions, and of the stored column.
        text: in sentences and, capitalized, in headings.
        bit: of the column `present`; stored, so it never changes.
        dtype: of the stored column; integers if it is one.
        unit: of the stored values; empty for numbers.
        dimension: exponents of energy and length in the unit, if readers convert it.
        per_atom: whether it has one value per atom instead of one per structure.
        shape: of one value; six components are a symmetric tensor in Voigt order.
        fill_value: stored for structures without the label.
        always_stored: whether datasets without the label have its column.
        boundaries: of the structures for which it is defined; None if for all.
        limits: smallest and largest value of an integer.
        is_input: whether it is an input of models instead of a label to compare with.
        keys: default keys of readers; none stands for the name.
        key_pattern: regular expression for typical keys, in lower case; empty if none
            is searched for.
        kind: key of its errors and loss weight; empty if it is not compared.
        symbol: in narrow tables.
        predicted_by: models that predict it: all, those with any charges, those with
            physical charges, or none.
        loss_weight: default weight in a loss; None if a loss cannot contain it.
        loss_text: what the weight applies to, for the settings of the loss.
        is_energy: whether it is the energy or a derivative of it.
        is_extensive: whether it is compared per atom, after the sum of atomic energies.
        is_main: whether tables of all runs have a column for it.
        has_r2: whether coefficients of determination are reported.
        on_request: whether it is predicted only on request, because of its cost.
        file_key: name in `predictions.extxyz`; empty for its name.
    """

    name: str
    text: str
    bit: int
    dtype: str
    unit: str = ""
    dimension: tuple[int, int] = (0, 0)
    per_atom: bool = False
    shape: tuple[int, ...] = ()
    fill_value: float = math.nan
    always_stored: bool = False
    boundaries: Literal["open", "periodic"] | None = None
    limits: tuple[int, int] | None = None
    is_input: bool = False
    keys: tuple[str, ...] = ()
    key_pattern: str = ""
    kind: str = ""
    symbol: str = ""
    predicted_by: Literal["all", "charges", "physical charges", "none"] = "none"
    loss_weight: float | None = None
    loss_text: str = ""
    is_energy: bool = False
    is_extensive: bool = False
    is_main: bool = False
    has_r2: bool = False
    on_request: bool = False
    file_key: str = ""

    @property
    def title(self) -> str:
        """Heading of tables and figures."""
        return self.text[0].upper() + self.text[1:]

    @property
    def error_unit(self) -> str:
        """Unit of errors, see `ERROR_SCALE`."""
        return f"m{self.unit}" + ("/atom" if self.is_extensive else "")

    @property
    def default_keys(self) -> tuple[str, ...]:
        """Keys of formats without keys of their own."""
        return self.keys or (self.name,)

    @property
    def prediction_key(self) -> str:
        """Name in `predictions.extxyz`, after `model_` or `label_`."""
        return self.file_key or self.name

    def residual(self, predicted: Any, label: Any, num_atoms: Any) -> Any:
        """Returns prediction minus label, per atom for extensive labels.

        Args:
            predicted: arrays or numbers.
            label: of the same shape.
            num_atoms: of each structure; 1 compares totals.
        """
        difference = predicted - label
        return difference / num_atoms if self.is_extensive else difference


_TABLE = (
    Label(
        name="energy", text="energy", bit=0, dtype="<f8", unit="eV", dimension=(1, 0),
        always_stored=True, key_pattern=r"energy|^e$|^etot$", kind="energy",
        symbol="E", predicted_by="all", is_energy=True, is_extensive=True,
        is_main=True, loss_weight=30.0,
        loss_text="energies in eV per atom; of total energies in eV if published",
    ),
    Label(
        name="forces", text="forces", bit=1, dtype="<f4", unit="eV/Å",
        dimension=(1, -1), per_atom=True, shape=(3,), key_pattern=r"force|^f$",
        kind="force", symbol="F", predicted_by="all", is_energy=True, is_main=True,
        loss_weight=1.0, loss_text="force components in eV/Å",
    ),
    Label(
        name="stress", text="stress", bit=2, dtype="<f8", unit="eV/Å³",
        dimension=(1, -3), shape=(6,), boundaries="periodic", key_pattern=r"stress",
        kind="stress", symbol="σ", predicted_by="all", is_energy=True,
        loss_weight=0.0, loss_text="stress components in eV/Å^3",
    ),
    Label(
        name="charges", text="charges", bit=3, dtype="<f4", unit="e", per_atom=True,
        key_pattern=r"charge|^q$", kind="charge", symbol="Q",
        predicted_by="physical charges", is_main=True, loss_weight=10.0,
        loss_text="atomic charges in e, for models with physical charges (CELLI)",
    ),
    Label(
        name="total_charge", text="total charge", bit=4, dtype="<f8", unit="e",
        fill_value=0, always_stored=True, is_input=True, key_pattern=r"charge",
    ),
    Label(
        name="spin", text="multiplicity", bit=5, dtype="<i4", fill_value=0,
        always_stored=True, limits=(0, 1000), is_input=True,
        key_pattern=r"spin|multiplicity",
    ),
    # Relative to the center of mass.
    Label(
        name="dipole", text="dipoles", bit=7, dtype="<f8", unit="e Å",
        dimension=(0, 1), shape=(3,), boundaries="open", key_pattern=r"dipole",
        kind="dipole", symbol="μ", predicted_by="charges", has_r2=True,
        loss_weight=0.0,
        loss_text="dipole components in e Å, for models with charges",
    ),
    # [atom, direction of polarization, direction of displacement]
    Label(
        name="born_charges", text="Born charges", bit=8, dtype="<f4", unit="e",
        per_atom=True, shape=(3, 3), key_pattern=r"born|(^|_)bec($|_)", kind="born",
        symbol="Z*", predicted_by="charges", has_r2=True, on_request=True,
        file_key="born",
    ),
    Label(
        name="tags", text="tags", bit=6, dtype="|i1", per_atom=True, fill_value=-128,
        limits=(-127, 127),
    ),
    # Collinear: the difference of spin-up and spin-down electrons times μB.
    Label(
        name="magnetic_moments", text="magnetic moments", bit=9, dtype="<f4",
        unit="μB", per_atom=True, keys=("magnetic_moments", "magmoms"),
        key_pattern=r"^(?!initial).*(magmom|magnetic_?moment)",
        kind="magnetic_moment", symbol="m", has_r2=True,
    ),
)  # fmt: skip

LABELS: dict[str, Label] = {label.name: label for label in _TABLE}
"""All labels by name."""

LABELS_BY_KIND: dict[str, Label] = {label.kind: label for label in _TABLE if label.kind}
"""Labels with which predictions are compared, by kind."""

KINDS = tuple(LABELS_BY_KIND)
"""Kinds for which errors are computed."""

TRAINABLE_KINDS = tuple(
    kind for kind, label in LABELS_BY_KIND.items() if label.loss_weight is not None
)
"""Kinds that a loss may contain."""

ENERGY_KINDS = tuple(k for k, v in LABELS_BY_KIND.items() if v.is_energy)
"""Energies and their derivatives."""

MAIN_KINDS = tuple(k for k, v in LABELS_BY_KIND.items() if v.is_main)
"""Kinds with a column in tables of all runs."""


def field_of(kind: str) -> str:
    """Returns the name of the label of a kind.

    Args:
        kind: one of `KINDS`.
    """
    return LABELS_BY_KIND[kind].name


class Labeled:
    """Base of dataclasses with a field `labels`, which holds labels by name.

    Labels are also attributes; that of a label which is missing is None.
    """

    labels: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name in LABELS:
            return self.labels.get(name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def with_labels(self, **labels: Any) -> Self:
        """Returns a copy with other labels.

        Args:
            labels: by name; None removes a label.
        """
        changed = {**self.labels, **labels}
        remaining = {name: v for name, v in changed.items() if v is not None}
        return dataclasses.replace(self, labels=remaining)  # pyright: ignore[reportArgumentType]
