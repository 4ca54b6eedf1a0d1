"""Euclidean fast attention: every atom attends to all others at linear cost."""

from ._attention import attend as attend
from ._coupling import coupling_paths as coupling_paths
from ._layer import EuclideanFastAttention as EuclideanFastAttention
from ._lebedev import LebedevGrid as LebedevGrid
from ._lebedev import frequency_grid as frequency_grid
from ._lebedev import lebedev_grid as lebedev_grid
from ._open_plan import OpenPlan as OpenPlan
from ._shell import ShellGrid as ShellGrid
