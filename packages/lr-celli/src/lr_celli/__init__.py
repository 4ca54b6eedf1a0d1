"""Charge equilibration with Coulomb matrices of Gaussian charges."""

from ._conjugate_gradients import conjugate_gradients as conjugate_gradients
from ._coulomb import coulomb_matrix as coulomb_matrix
from ._coulomb import coulomb_sums as coulomb_sums
from ._embedding import ChargeEmbedding as ChargeEmbedding
from ._equilibration import equilibrate as equilibrate
from ._ewald import Ewald as Ewald
from ._gaussian import COULOMB_CONSTANT as COULOMB_CONSTANT
from ._layer import ChargeEquilibration as ChargeEquilibration
from ._operator import CoulombOperator as CoulombOperator
from ._operator import coulomb_operator as coulomb_operator
from ._particle_mesh import ParticleMesh as ParticleMesh
from ._polarizable import (
    PolarizableChargeEquilibration as PolarizableChargeEquilibration,
)
from ._polarization import polarize as polarize
from ._radii import COVALENT_RADII as COVALENT_RADII
from ._sums import CoulombSums as CoulombSums
