"""Latent Ewald summation: long-range energies of latent charges."""

from ._charge_system import ChargeSystem as ChargeSystem
from ._energy import energy as energy
from ._grid import KGrid as KGrid
from ._kernels import COULOMB_CONSTANT as COULOMB_CONSTANT
from ._kernels import AbstractKernel as AbstractKernel
from ._kernels import Coulomb as Coulomb
from ._kernels import GaussianSum as GaussianSum
from ._kernels import InverseSixth as InverseSixth
from ._layer import LatentEwald as LatentEwald
from ._mesh import Mesh as Mesh
from ._multipoles import Multipoles as Multipoles
from ._plan import lattice_plan as lattice_plan
from ._response import born_charges as born_charges
