"""Train/test splits that test generalisation over chemical space."""

from ._chemistry import compositions as compositions
from ._chemistry import element_labels as element_labels
from ._cluster import ClusterSplit as ClusterSplit
from ._cluster import cluster_labels as cluster_labels
from ._leakage import Leakage as Leakage
from ._leakage import Shared as Shared
from ._leakage import Sizes as Sizes
from ._leakage import leakage as leakage
from ._make_split import make_split as make_split
from ._map import chemical_map as chemical_map
from ._map import plot_map as plot_map
from ._max_separation import MaxSeparationSplit as MaxSeparationSplit
from ._project import project as project
from ._seed_similarity import SeedSimilaritySplit as SeedSimilaritySplit
from ._separated import SeparatedSplit as SeparatedSplit
from ._separation import Separation as Separation
from ._separation import Similarities as Similarities
from ._separation import separation as separation
from ._size import SizeSplit as SizeSplit
from ._soap import mean_soap as mean_soap
from ._split import Split as Split
