"""Shapes of the backbones and settings of the long-range layers.

Every number has a largest value as well: beyond it memory ends or numbers overflow,
long after the mistake was made.
"""

from typing import Annotated, Any, Literal

import pydantic


class Strict(pydantic.BaseModel):
    """Settings that refuse unknown keys, infinite numbers and `true` for a number."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Refuses `true`, which Python takes for 1, where no yes or no is asked for."""
        field = cls.model_fields[info.field_name or ""]
        items = value if isinstance(value, list | tuple) else (value,)
        if field.annotation is not bool and any(isinstance(x, bool) for x in items):
            raise ValueError("expected a value that is not true or false")
        return value


Channels = Annotated[int, pydantic.Field(ge=1, le=1024)]
"""Width of features."""

Layers = Annotated[int, pydantic.Field(ge=2, le=16)]
"""Rounds, blocks or tensor products."""

Hidden = Annotated[
    tuple[Annotated[int, pydantic.Field(ge=1, le=4096)], ...],
    pydantic.Field(min_length=1, max_length=8),
]
"""Widths of a network's hidden layers."""

Irreps = Annotated[
    tuple[Annotated[str, pydantic.Field(pattern="^[0-3][eo]$")], ...],
    pydantic.Field(min_length=1, max_length=8),
]
"""Degrees with their parity, such as `1o`."""


class MACESettings(Strict):
    """Shapes of MACE, see `backbones.MACESize`."""

    channels: Channels = 16
    hidden_degree: int = pydantic.Field(default=1, ge=0, le=3)
    l_max: int = pydantic.Field(default=2, ge=1, le=3)
    correlation: int = pydantic.Field(default=2, ge=1, le=3)
    num_interactions: Layers = 2
    radial_mlp: Hidden = (32, 32)

    @pydantic.model_validator(mode="after")
    def _degrees_fit(self) -> "MACESettings":
        if self.hidden_degree > self.l_max:
            raise ValueError(
                f"hidden_degree {self.hidden_degree} is above l_max {self.l_max}, the "
                "highest degree of the messages"
            )
        return self


class AllegroSettings(Strict):
    """Shapes of Allegro, see `backbones.AllegroSize`."""

    channels: Channels = 16
    features: Irreps = ("1o", "1e")
    l_max: int = pydantic.Field(default=2, ge=1, le=3)
    num_layers: Layers = 2
    hidden: Channels = 32
    embedding: Channels = 16


class DimeNetSettings(Strict):
    """Shapes of DimeNet++, see `backbones.DimeNetSize`."""

    channels: Channels = 32
    num_blocks: Layers = 2
    int_emb_size: Channels = 16
    out_emb_channels: Channels = 32


class CelliSettings(Strict):
    """Charge equilibration, see `lr_celli.ChargeEquilibration`."""

    hidden: Hidden = (32, 32)
    energy: Literal["coulomb", "total"] = "coulomb"
    widths: Literal["covalent", "published"] = "covalent"
    """Where the Gaussians' widths start: at covalent radii, or where the published
    code did, near 7 Å."""
    polarizable: bool = False
    """Atoms have induced dipoles beside their charges."""


class EFASettings(Strict):
    """Euclidean fast attention, see `lr_efa.EuclideanFastAttention`."""

    omega_max: float = pydantic.Field(default=2.0, ge=1e-3, le=20)
    """Highest frequency, 1/Å. Crystals: near 2; molecules: pi over the largest's
    extent, as published."""
    qk_size: int = pydantic.Field(default=16, ge=2, le=1024)
    v_size: Channels = 16
    boundary: Literal["cell", "ignore"] = "cell"
    """`ignore` takes a crystal for a molecule, as the published benchmark did."""


class LESSettings(Strict):
    """Latent Ewald summation, see `lr_les.LatentEwald`."""

    charge_channels: Channels = 1
    sigma: float = pydantic.Field(default=1.0, ge=0.1, le=100)
    """Å."""
    dl: float | None = pydantic.Field(default=None, ge=0.1, le=100)
    """Å; cuts the reciprocal sum at 2 pi / dl, as published (2 Å); if absent an
    accuracy decides."""


class ModelSettings(Strict):
    """Shapes of the backbones and of the long-range layers."""

    cutoff: float = pydantic.Field(default=4.5, ge=0.5, le=30)
    """Å."""
    zbl: bool = False
    """Nuclei repel each other at less than bond lengths, whatever was learned there:
    for models that are to be simulated."""
    mace: MACESettings = MACESettings()
    allegro: AllegroSettings = AllegroSettings()
    dimenet: DimeNetSettings = DimeNetSettings()
    celli: CelliSettings = CelliSettings()
    efa: EFASettings = EFASettings()
    les: LESSettings = LESSettings()

    def shape_of(self, backbone: str) -> Strict:
        """The settings of a backbone; `mp4` is MACE with four interactions."""
        if backbone == "mp4":
            return self.mace.model_copy(update={"num_interactions": 4})
        return getattr(self, backbone)
