"""Names that hold markup: pages show them as they are and run nothing."""

from html.parser import HTMLParser

import pytest
from bench.dynamics.page.page import write_page
from bench.report.style import as_markdown
from bench.report.tables import Table
from bench.report.write import rendered
from bench.settings.grid import Grid

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=y> | a `b` [c](d) $\\frac$\n# e"


class Tags(HTMLParser):
    """The tags of a page and their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def assert_harmless(page):
    tags = Tags(page)
    assert "script" not in {tag for tag, _ in tags.found}
    assert not [a for _, attrs in tags.found for a in attrs if a.startswith("on")]
    sources = [a["src"] for tag, a in tags.found if tag == "img"]
    assert all(source.startswith("data:image/png") for source in sources)
    assert "<script>alert(1)</script>" in tags.text


@pytest.fixture
def facts():
    table = Table(["split", EVIL], [[EVIL, "1.00"]])
    figure = {"caption": EVIL, "source": "data:image/png;base64,", "name": EVIL}
    return {
        "grid": Grid(dataset=EVIL),
        "errors": {"energy": table},
        "comparison": table,
        "settings": EVIL,
        "notes": [EVIL],
        "figures": [figure],
    }


def test_reports(facts):
    assert_harmless(rendered("report.html", facts))
    plain = facts | {
        "grid": Grid(dataset="own"),
        "errors": {"energy": Table(["split", "x"], [["random", "1.00"]])},
        "comparison": Table(["split", "x"], [["random", "1.00"]]),
        "notes": ["a note"],
    }
    text, same = rendered("report.md", facts), rendered("report.md", plain)
    assert len(text.splitlines()) == len(same.splitlines())
    for line, usual in zip(text.splitlines(), same.splitlines(), strict=True):
        bars = lambda text: text.replace("\\|", "").count("|")
        assert bars(line) == bars(usual)
        assert "<" not in line and line.replace("\\`", "").count("`") == 0
        assert "[c]" not in line


def test_markdown_keeps_what_is_said():
    assert as_markdown("mace+les, 1.5 to 2.5 (95 %)") == "mace+les, 1.5 to 2.5 (95 %)"
    assert as_markdown("a_b\nc|d") == "a\\_b c\\|d"
    assert as_markdown("<a&b>") == "&lt;a&amp;b&gt;"


def test_simulations(tmp_path):
    replica = {"survived_ps": 0.1, "cause": "nan", "detail": EVIL}
    phase = {"start": 300.0, "end": 300.0, "picoseconds": 0.1, "passed": False}
    phase |= {"replicas": [replica], "steps_per_second": 1.0}
    result = {
        "model": EVIL,
        "structure": EVIL,
        "atoms": 3,
        "periodic": False,
        "warning": EVIL,
        "prechecks": [{"name": EVIL, "passed": False, "value": 1.0, "detail": EVIL}],
        "relaxation": None,
        "phases": [phase | {"name": name} for name in ("nvt", "nve", "ramp")],
        "charges": None,
        "radial": {"r": [1.0], "g": [1.0], "error": 0.5},
        "vibrations": {"waves": [1.0], "density": [1.0]},
        "infrared": None,
    }
    assert_harmless(write_page([result], tmp_path).read_text())
