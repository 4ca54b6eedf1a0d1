"""Train/test splits that test generalisation over chemical space."""

from ._cluster import ClusterSplit as ClusterSplit
from ._cluster import cluster_labels as cluster_labels
from ._make_split import make_split as make_split
from ._map import chemical_map as chemical_map
from ._map import plot_map as plot_map
from ._project import project as project
from ._separation import Separation as Separation
from ._separation import Similarities as Similarities
from ._separation import separation as separation
from ._soap import mean_soap as mean_soap
from ._split import Split as Split
