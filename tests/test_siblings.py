"""What the three long-range packages, which may not import each other, share."""

from pathlib import Path

PACKAGES = Path(__file__).parents[1] / "packages"


def test_coverage_of_cells_is_one_file_in_three_packages():
    files = sorted(PACKAGES.glob("lr-*/src/*/_covers.py"))
    assert [path.parent.name for path in files] == ["lr_celli", "lr_efa", "lr_les"]
    assert len({path.read_bytes() for path in files}) == 1
