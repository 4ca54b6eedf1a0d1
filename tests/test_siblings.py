"""Files duplicated in the three long-range packages, which do not import each other."""

from pathlib import Path

PACKAGES = Path(__file__).parents[1] / "packages"


def test_cells_and_coverage_are_the_same_file_in_three_packages():
    files = sorted(PACKAGES.glob("lr-*/src/*/_lattice.py"))
    assert [path.parent.name for path in files] == ["lr_celli", "lr_efa", "lr_les"]
    assert len({path.read_bytes() for path in files}) == 1
