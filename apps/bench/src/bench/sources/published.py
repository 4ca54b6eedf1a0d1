"""Where published data sets come from."""

from typing import NamedTuple


class Origin(NamedTuple):
    """One published data set.

    Args:
        page: where it is downloaded, and what must be agreed to.
        files: names, with sizes where they are known.
        licence: of the data.
        cite: what a publication cites.
        prepare: the command that reads it.
    """

    page: str
    files: tuple[str, ...]
    licence: str
    cite: tuple[str, ...]
    prepare: str


ORIGINS = {
    "QMOF": Origin(
        "https://doi.org/10.6084/m9.figshare.13147324 (figshare, free; version 18 is "
        "of 2025-11-15)",
        (
            "qmof_database.zip, 392 088 304 bytes, md5 "
            "0d89aaf66f2c306e86e47fd91cb1346e",
            "in it qmof.csv, qmof.json, qmof_structure_data.json (about 3 GB unpacked) "
            "and relaxed_structures.zip, which is unpacked once more",
        ),
        "CC BY 4.0",
        (
            "Rosen et al., Matter 4, 1578 (2021), doi:10.1016/j.matt.2021.02.015",
            "Rosen et al., npj Comput. Mater. 8, 112 (2022), "
            "doi:10.1038/s41524-022-00796-6",
        ),
        "bench prepare qmof_database --recipe qmof --out data/qmof",
    ),
    "ODAC25": Origin(
        "https://huggingface.co/facebook/ODAC25 (conditions are agreed to with name "
        "and organisation before the download)",
        (
            "odac25_filtered_train.tar.gz, odac25_filtered_val.tar.gz (sizes are given "
            "on the page)",
            "in them folders mof, mof_plus_adsorbate, ... of *.aselmdb; the published "
            "subset is of train/mof",
        ),
        "CC BY 4.0",
        ("Sriram et al., arXiv:2508.03162 (2025)",),
        "bench prepare train/mof --recipe odac25 --out data/odac25",
    ),
    "OMol25": Origin(
        "https://huggingface.co/facebook/OMol25 (conditions are agreed to with name "
        "and organisation before the download)",
        (
            "train_4M.tar.gz, about 19 GB; the published subset is of it",
            "train.tar.gz, 488 754 888 740 bytes; val.tar.gz, neutral_train.tar.gz "
            "(sizes are given on the page)",
            "in each a folder of *.aselmdb",
        ),
        "CC BY 4.0",
        ("Levine et al., arXiv:2505.08762 (2025)",),
        "bench prepare train_4M --recipe omol25 --out data/omol25",
    ),
}
"""By name. Sizes are those the hosts stated; nothing is downloaded by this program."""


SOUNDS = {"QMOF": ("qmof",), "ODAC25": ("odac",), "OMol25": ("omol", "train_4m")}
"""What paths of published sets contain, in lower case."""


def pointer(source: str) -> str:
    """Where the published set comes from that a missing path sounds like.

    Args:
        source: the path.
    """
    for name, sounds in SOUNDS.items():
        if any(sound in source.lower() for sound in sounds):
            page = ORIGINS[name].page.split(" ")[0]
            return f"; {name} is at {page} ({ORIGINS[name].licence})"
    return ""


def where() -> str:
    """Pages, files, licences and citations, for people."""
    blocks = []
    for name, origin in ORIGINS.items():
        lines = [
            name,
            f"  page     {origin.page}",
            *(f"  files    {text}" for text in origin.files[:1]),
            *(f"           {text}" for text in origin.files[1:]),
            f"  licence  {origin.licence}",
            *(f"  cite     {text}" for text in origin.cite[:1]),
            *(f"           {text}" for text in origin.cite[1:]),
            f"  then     {origin.prepare}",
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
