"""Which structures a run learns from and which it is tested on."""

from chemsplit import ClusterSplit, Split, make_split, mean_soap
from scipy.sparse import csr_matrix
from sklearn.model_selection import GroupShuffleSplit

from ._config import SplitSettings
from ._dataset import DataSet


def descriptors(data: DataSet) -> csr_matrix:
    """The published SOAP descriptor of every structure, averaged over its atoms."""
    return mean_soap([s.to_ase() for s in data.samples])


def split_data(
    data: DataSet, vectors: csr_matrix, kind: str, settings: SplitSettings, seed: int
) -> Split:
    """A split by id that keeps every group together.

    Args:
        data: what to split.
        vectors: one descriptor a sample.
        kind: `"random"` or `"cluster"`.
        settings: shares and number of clusters.
        seed: decides the draw.
    """
    share = settings.test_share
    groups = len(set(data.groups))
    splitter = {
        "random": GroupShuffleSplit(1, test_size=share),
        "cluster": ClusterSplit(
            1, n_clusters=min(settings.clusters, groups), test_size=share
        ),
    }[kind]
    return make_split(
        splitter,
        vectors,
        data.ids,
        data.groups,
        validation=settings.validation_share,
        seed=seed,
        name=kind,
        settings={"descriptor": "mean SOAP", **settings.model_dump()},
    )
