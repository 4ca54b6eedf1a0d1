"""Download pages, licenses and citations of published data sets."""

from typing import NamedTuple


class PublishedDataset(NamedTuple):
    """One published data set.

    Args:
        page: download page, with its conditions.
        files: their names and, if known, sizes.
        license: license of the data.
        citations: references to cite.
        command: `bench prepare` command that reads it.
    """

    page: str
    files: tuple[str, ...]
    license: str
    citations: tuple[str, ...]
    command: str


PUBLISHED = {
    "QMOF": PublishedDataset(
        "https://doi.org/10.6084/m9.figshare.13147324 (figshare, free; version 18 of "
        "2025-11-15)",
        (
            "qmof_database.zip, 392 088 304 bytes, md5 "
            "0d89aaf66f2c306e86e47fd91cb1346e",
            "it contains qmof.csv, qmof.json, qmof_structure_data.json (about 3 GB "
            "uncompressed) and relaxed_structures.zip, which must be unpacked as well",
        ),
        "CC BY 4.0",
        (
            "Rosen et al., Matter 4, 1578 (2021), doi:10.1016/j.matt.2021.02.015",
            "Rosen et al., npj Comput. Mater. 8, 112 (2022), "
            "doi:10.1038/s41524-022-00796-6",
        ),
        "bench prepare qmof_database -o filters.recipe=qmof --out data/qmof",
    ),
    "ODAC25": PublishedDataset(
        "https://huggingface.co/facebook/ODAC25 (accept the conditions with name "
        "and organization before the download)",
        (
            "odac25_filtered_train.tar.gz, odac25_filtered_val.tar.gz (sizes: see the "
            "page)",
            "they contain folders mof, mof_plus_adsorbate, ... of *.aselmdb; the "
            "published subset is from train/mof",
        ),
        "CC BY 4.0",
        ("Sriram et al., arXiv:2508.03162 (2025)",),
        "bench prepare train/mof -o filters.recipe=odac25 --out data/odac25",
    ),
    "OMol25": PublishedDataset(
        "https://huggingface.co/facebook/OMol25 (accept the conditions with name "
        "and organization before the download)",
        (
            "train_4M.tar.gz, about 19 GB; the published subset is from it",
            "train.tar.gz, 488 754 888 740 bytes; val.tar.gz, neutral_train.tar.gz "
            "(sizes: see the page)",
            "each contains a folder of *.aselmdb",
        ),
        "CC BY 4.0",
        ("Levine et al., arXiv:2505.08762 (2025)",),
        "bench prepare train_4M -o filters.recipe=omol25 --out data/omol25",
    ),
}
"""Published data sets by name. Sizes are from the hosts; bench downloads nothing."""


PATH_FRAGMENTS = {
    "QMOF": ("qmof",),
    "ODAC25": ("odac",),
    "OMol25": ("omol", "train_4m"),
}
"""Parts of the paths of published data sets, in lower case."""


def download_hint(source: str) -> str:
    """Returns the download page if a path is that of a published data set, else "".

    Args:
        source: a path that does not exist.
    """
    for name, fragments in PATH_FRAGMENTS.items():
        if any(fragment in source.lower() for fragment in fragments):
            page = PUBLISHED[name].page.split(" ")[0]
            return f"; {name} is at {page} ({PUBLISHED[name].license})"
    return ""


def describe_published() -> str:
    """Returns pages, files, licenses and citations of all published data sets."""
    descriptions = []
    for name, dataset in PUBLISHED.items():
        lines = [
            name,
            f"  page     {dataset.page}",
            *(f"  files    {text}" for text in dataset.files[:1]),
            *(f"           {text}" for text in dataset.files[1:]),
            f"  license  {dataset.license}",
            *(f"  cite     {text}" for text in dataset.citations[:1]),
            *(f"           {text}" for text in dataset.citations[1:]),
            f"  then     {dataset.command}",
        ]
        descriptions.append("\n".join(lines))
    return "\n\n".join(descriptions)
