"""Latent Ewald summation: long-range energies of latent charges."""

from ._energy import energy as energy
from ._energy import potential_and_field as potential_and_field
from ._grid import KGrid as KGrid
from ._grid import k_grid as k_grid
from ._induction import induction as induction
from ._kernels import COULOMB_CONSTANT as COULOMB_CONSTANT
from ._kernels import AbstractKernel as AbstractKernel
from ._kernels import Coulomb as Coulomb
from ._kernels import GaussianSum as GaussianSum
from ._kernels import InverseSixth as InverseSixth
from ._layer import LatentEwald as LatentEwald
from ._mesh import Mesh as Mesh
from ._mesh import mesh as mesh
from ._plan import lattice_plan as lattice_plan
from ._response import born_charges as born_charges
from ._response import polarization as polarization
from ._response import quadrupole as quadrupole
