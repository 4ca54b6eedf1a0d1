"""Shapes of the backbones and settings of the long-range layers."""

from typing import Literal

import pydantic


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class MACESettings(Strict):
    """Shapes of MACE, see `backbones.MACESize`."""

    channels: int = pydantic.Field(default=16, ge=1)
    hidden_degree: int = pydantic.Field(default=1, ge=0, le=3)
    l_max: int = pydantic.Field(default=2, ge=1, le=3)
    correlation: int = pydantic.Field(default=2, ge=1, le=3)
    interactions: int = pydantic.Field(default=2, ge=2)
    radial: tuple[int, ...] = (32, 32)


class AllegroSettings(Strict):
    """Shapes of Allegro, see `backbones.AllegroSize`."""

    channels: int = pydantic.Field(default=16, ge=1)
    features: tuple[str, ...] = ("1o", "1e")
    l_max: int = pydantic.Field(default=2, ge=1, le=3)
    layers: int = pydantic.Field(default=2, ge=2)
    hidden: int = pydantic.Field(default=32, ge=1)
    embedding: int = pydantic.Field(default=16, ge=1)


class DimeNetSettings(Strict):
    """Shapes of DimeNet++, see `backbones.DimeNetSize`."""

    channels: int = pydantic.Field(default=32, ge=1)
    blocks: int = pydantic.Field(default=2, ge=2)
    down: int = pydantic.Field(default=16, ge=1)
    output: int = pydantic.Field(default=32, ge=1)


class CelliSettings(Strict):
    """Charge equilibration, see `lr_celli.ChargeEquilibration`."""

    hidden: tuple[int, ...] = (32, 32)
    energy: Literal["coulomb", "total"] = "coulomb"
    widths: Literal["covalent", "published"] = "covalent"
    """Where the Gaussians' widths start: at covalent radii, or where the published
    code did, near 7 Å."""
    polarizable: bool = False
    """Atoms have induced dipoles beside their charges."""


class EFASettings(Strict):
    """Euclidean fast attention, see `lr_efa.EuclideanFastAttention`."""

    omega_max: float = pydantic.Field(default=2.0, gt=0)
    """Highest frequency, 1/Å. Crystals: near 2; molecules: pi over the largest's
    extent, as published."""
    qk: int = pydantic.Field(default=16, ge=2)
    v: int = pydantic.Field(default=16, ge=1)
    boundary: Literal["cell", "ignore"] = "cell"
    """`ignore` takes a crystal for a molecule, as the published benchmark did."""


class LESSettings(Strict):
    """Latent Ewald summation, see `lr_les.LatentEwald`."""

    charge_channels: int = pydantic.Field(default=1, ge=1)
    sigma: float = pydantic.Field(default=1.0, gt=0)
    """Å."""
    dl: float | None = pydantic.Field(default=None, gt=0)
    """Å; cuts the reciprocal sum at 2 pi / dl, as published (2 Å); if absent an
    accuracy decides."""


class ModelSettings(Strict):
    """Shapes of the backbones and of the long-range layers."""

    cutoff: float = pydantic.Field(default=4.5, gt=0)
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
            return self.mace.model_copy(update={"interactions": 4})
        return getattr(self, backbone)
