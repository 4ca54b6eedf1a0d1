"""Builds the potential of a run."""

import jax
from backbones import MACE, LongRange, MACESize, Potential
from jaxtyping import PRNGKeyArray
from lr_les import LatentEwald

from ._config import ModelSettings


def build_potential(
    settings: ModelSettings,
    long_range: str,
    references: dict[int, float],
    *,
    average_neighbours: float,
    scale: float,
    seed: int,
) -> Potential:
    """A fresh potential for the elements of `references`.

    Models that differ in their long-range layer start from the same backbone weights.

    Args:
        settings: shapes of the backbone.
        long_range: `"none"` or `"les"`.
        references: eV by atomic number.
        average_neighbours: of an atom in the training data.
        scale: of the backbone's energies, eV.
        seed: of the weights.
    """
    first, second = jax.random.split(jax.random.key(seed))
    backbone = MACE(
        tuple(references),
        MACESize(
            channels=settings.channels,
            hidden_degree=settings.hidden_degree,
            l_max=settings.l_max,
            correlation=settings.correlation,
            interactions=settings.interactions,
            radial=settings.radial,
        ),
        cutoff=settings.cutoff,
        average_neighbours=average_neighbours,
        long_range=_layers(settings, long_range, second),
        key=first,
    )
    return Potential(backbone, references, scale=scale)


def _layers(
    settings: ModelSettings, name: str, key: PRNGKeyArray
) -> dict[str, LongRange]:
    final_width = settings.channels * settings.interactions
    return {
        "none": lambda: {},
        "les": lambda: {"final": LatentEwald(final_width, key=key)},
    }[name]()
