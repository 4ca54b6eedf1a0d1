"""Files that several members contain unchanged: cells and coverage, and the license."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_cells_and_coverage_are_the_same_file_in_three_packages():
    files = sorted(ROOT.glob("packages/lr-*/src/*/_lattice.py"))
    assert [path.parent.name for path in files] == ["lr_celli", "lr_efa", "lr_les"]
    assert len({path.read_bytes() for path in files}) == 1


def test_every_member_and_its_wheel_contain_the_license():
    projects = sorted(ROOT.glob("packages/*/pyproject.toml"))
    projects += sorted(ROOT.glob("apps/*/pyproject.toml"))
    assert len(projects) >= 6
    for path in projects:
        project = tomllib.loads(path.read_text())["project"]
        assert project["license-files"] == ["LICENSE"], path
        assert path.with_name("LICENSE").read_bytes() == (
            (ROOT / "LICENSE").read_bytes()
        )
