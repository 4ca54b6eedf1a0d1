"""Latent Ewald summation: long-range energies of latent charges."""

from ._energy import COULOMB_CONSTANT as COULOMB_CONSTANT
from ._energy import energy as energy
from ._grid import KGrid as KGrid
from ._grid import k_grid as k_grid
from ._layer import LatentEwald as LatentEwald
