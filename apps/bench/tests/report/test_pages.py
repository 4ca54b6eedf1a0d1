"""Names that contain markup are escaped in reports and pages."""

from html.parser import HTMLParser

import pytest
from bench.dynamics.page.page import write_page
from bench.report.style import as_markdown
from bench.report.tables import Table
from bench.report.write import render
from bench.settings.grid import Grid

MARKUP = (
    "<script>alert(1)</script>\"'><img src=x onerror=y> | a `b` [c](d) $\\frac$\n# e"
)


class PageParser(HTMLParser):
    """Collects the tags of a page with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def assert_escaped(page):
    parser = PageParser(page)
    assert "script" not in {tag for tag, _ in parser.tags}
    assert not [a for _, attrs in parser.tags for a in attrs if a.startswith("on")]
    sources = [attrs["src"] for tag, attrs in parser.tags if tag == "img"]
    assert all(source.startswith("data:image/png") for source in sources)
    assert "<script>alert(1)</script>" in parser.text


@pytest.fixture
def context():
    table = Table(["split", MARKUP], [[MARKUP, "1.00"]])
    figure = {"caption": MARKUP, "source": "data:image/png;base64,", "name": MARKUP}
    return {
        "grid": Grid(dataset=MARKUP),
        "errors": {"energy": table},
        "comparison": table,
        "settings": MARKUP,
        "notes": [MARKUP],
        "figures": [figure],
    }


def test_reports(context):
    assert_escaped(render("report.html", context))
    plain = context | {
        "grid": Grid(dataset="own"),
        "errors": {"energy": Table(["split", "x"], [["random", "1.00"]])},
        "comparison": Table(["split", "x"], [["random", "1.00"]]),
        "notes": ["a note"],
    }
    text, same = render("report.md", context), render("report.md", plain)
    assert len(text.splitlines()) == len(same.splitlines())
    for line, usual in zip(text.splitlines(), same.splitlines(), strict=True):
        bars = lambda text: text.replace("\\|", "").count("|")
        assert bars(line) == bars(usual)
        assert "<" not in line and line.replace("\\`", "").count("`") == 0
        assert "[c]" not in line


def test_markdown_of_plain_text_is_unchanged():
    assert as_markdown("mace+les, 1.5 to 2.5 (95 %)") == "mace+les, 1.5 to 2.5 (95 %)"
    assert as_markdown("a_b\nc|d") == "a\\_b c\\|d"
    assert as_markdown("<a&b>") == "&lt;a&amp;b&gt;"


def test_pages_of_simulations(tmp_path):
    replica = {"survived_ps": 0.1, "cause": "nan", "detail": MARKUP}
    stage = {"start_temperature_K": 300.0, "end_temperature_K": 300.0}
    stage |= {"duration_ps": 0.1, "passed": False}
    stage |= {"replicas": [replica], "steps_per_second": 1.0}
    result = {
        "model": MARKUP,
        "structure": MARKUP,
        "n_atoms": 3,
        "periodic": False,
        "warning": MARKUP,
        "prechecks": [
            {"name": MARKUP, "passed": False, "value": 1.0, "detail": MARKUP}
        ],
        "relaxation": None,
        "stages": [stage | {"name": name} for name in ("nvt", "nve", "ramp")],
        "charges": None,
        "radial_distribution": {"r": [1.0], "g": [1.0], "error": 0.5},
        "vibrations": {"wavenumbers": [1.0], "density_of_states": [1.0]},
        "infrared": None,
    }
    assert_escaped(write_page([result], tmp_path).read_text())
