"""Hyperparameters of the backbones and long-range layers.

All numbers are bounded, since too large values exhaust the memory or overflow only
after training has started.
"""

from typing import Annotated, Any, Literal

import pydantic

from bench.settings.installed import (
    BACKBONES,
    backbone_names,
    check_name,
    other_backbones,
    other_layers,
)
from bench.settings.schema import Strict

Channels = Annotated[int, pydantic.Field(ge=1, le=1024)]
"""Number of feature channels."""

Layers = Annotated[int, pydantic.Field(ge=2, le=16)]
"""Number of interactions, blocks or tensor products."""

Hidden = Annotated[
    tuple[Annotated[int, pydantic.Field(ge=1, le=4096)], ...],
    pydantic.Field(min_length=1, max_length=8),
]
"""Widths of the hidden layers of an MLP."""

Irreps = Annotated[
    tuple[Annotated[str, pydantic.Field(pattern="^[0-3][eo]$")], ...],
    pydantic.Field(min_length=1, max_length=8),
]
"""Irreps of O(3), each a degree with its parity, such as `1o`."""


class MACESettings(Strict):
    """Hyperparameters of MACE, see `backbones.MACESize`."""

    channels: Channels = 16
    hidden_degree: int = pydantic.Field(default=1, ge=0, le=3)
    l_max: int = pydantic.Field(default=2, ge=1, le=3)
    correlation: int = pydantic.Field(default=2, ge=1, le=3)
    num_interactions: Layers = 2
    radial_mlp: Hidden = (32, 32)

    @pydantic.model_validator(mode="after")
    def _check_degrees(self) -> "MACESettings":
        if self.hidden_degree > self.l_max:
            raise ValueError(
                f"hidden_degree {self.hidden_degree} is above l_max {self.l_max}, the "
                "highest degree of the messages"
            )
        return self


class AllegroSettings(Strict):
    """Hyperparameters of Allegro, see `backbones.AllegroSize`."""

    channels: Channels = 16
    features: Irreps = ("1o", "1e")
    l_max: int = pydantic.Field(default=2, ge=1, le=3)
    num_layers: Layers = 2
    hidden: Channels = 32
    embedding: Channels = 16


class DimeNetSettings(Strict):
    """Hyperparameters of DimeNet++, see `backbones.DimeNetSize`."""

    channels: Channels = 32
    num_blocks: Layers = 2
    int_emb_size: Channels = 16
    out_emb_channels: Channels = 32


class CelliSettings(Strict):
    """Charge equilibration, see `lr_celli.ChargeEquilibration`."""

    hidden: Hidden = (32, 32)
    energy: Literal["coulomb", "total"] = "coulomb"
    widths: Literal["covalent", "published"] = "covalent"
    """Initial widths of the charge Gaussians: covalent radii, or near 7 Å as in the
    published code."""
    polarizable: bool = False
    """Adds induced atomic dipoles to the charges."""


class EFASettings(Strict):
    """Euclidean fast attention, see `lr_efa.EuclideanFastAttention`."""

    omega_max: float = pydantic.Field(default=2.0, ge=1e-3, le=20)
    """Highest frequency, 1/Å: about 2 for crystals, pi over the diameter of the largest
    molecule as published."""
    qk_size: int = pydantic.Field(default=16, ge=2, le=1024)
    v_size: Channels = 16
    boundary: Literal["cell", "ignore"] = "cell"
    """`ignore` treats crystals as molecules, as in the published benchmark."""


class LESSettings(Strict):
    """Latent Ewald summation, see `lr_les.LatentEwald`."""

    charge_channels: Channels = 1
    sigma: float = pydantic.Field(default=1.0, ge=0.1, le=100)
    """Standard deviation of a Gaussian charge that acts on a point charge, Å."""
    dl: float | None = pydantic.Field(default=None, ge=0.1, le=100)
    """Å; the reciprocal sum is truncated at 2 pi / dl (published: 2 Å); None derives
    the cutoff from an accuracy."""


class InstalledLayer(Strict):
    """A long-range layer of another package."""

    hook: Annotated[str, pydantic.Field(min_length=1)] = "final"
    """Hook of the backbone, such as `embedding` or `block 1`."""
    arguments: dict[str, Any] = {}
    """Arguments of its constructor, except the number of channels."""


OtherLayer = Annotated[
    str, pydantic.AfterValidator(lambda name: check_name(name, other_layers()))
]
OtherBackbone = Annotated[
    str, pydantic.AfterValidator(lambda name: check_name(name, other_backbones()))
]

BackboneName = Annotated[
    str, pydantic.AfterValidator(lambda name: check_name(name, backbone_names()))
]
"""`mace`, `mp4` (MACE with four interactions), `allegro`, `dimenet`, or an entry point
of the group `backbones.backbones` of an installed package."""


class ModelSettings(Strict):
    """Hyperparameters of all backbones and long-range layers."""

    cutoff: float = pydantic.Field(default=4.5, ge=0.5, le=30)
    """Cutoff of the neighbor list, Å."""
    zbl: bool = False
    """Adds ZBL nuclear repulsion at distances below bond lengths, for molecular
    dynamics."""
    mace: MACESettings = MACESettings()
    allegro: AllegroSettings = AllegroSettings()
    dimenet: DimeNetSettings = DimeNetSettings()
    celli: CelliSettings = CelliSettings()
    efa: EFASettings = EFASettings()
    les: LESSettings = LESSettings()
    backbones: dict[OtherBackbone, dict[str, Any]] = {}
    """Hyperparameters of backbones of other packages, by name."""
    layers: dict[OtherLayer, InstalledLayer] = {}
    """Settings of long-range layers of other packages, by name."""

    def of_backbone(self, backbone: str) -> dict[str, Any]:
        """Returns the hyperparameters of a backbone.

        Args:
            backbone: name as in the grid; `mp4` is MACE with four interactions.
        """
        if backbone == "mp4":
            return self.mace.model_dump() | {"num_interactions": 4}
        if backbone in BACKBONES:
            return getattr(self, backbone).model_dump()
        return self.backbones.get(backbone, {})
