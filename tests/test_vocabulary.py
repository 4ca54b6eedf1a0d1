"""The repository uses the field's words, not its own.

`data/dialect.txt` lists names, words and phrases that readers stumbled over.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).parent / "data" / "dialect.txt"
SUFFIXES = {".py", ".md", ".toml", ".yaml", ".jinja", ".html", ".css"}


def _sections() -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    for line in LIST.read_text().splitlines():
        if line.startswith("["):
            sections[line.strip("[]")] = entries = []
        elif line and not line.startswith("#"):
            entries.append(line)
    return sections


def _files(part: str) -> list[Path]:
    """Sources, tests, READMEs and templates of a part of the repository."""
    paths = (ROOT / part).rglob("*") if (ROOT / part).is_dir() else [ROOT / part]
    return [
        path
        for path in paths
        if path.suffix in SUFFIXES
        and not any(name.startswith(".") for name in path.relative_to(ROOT).parts[1:])
    ]


SECTIONS = _sections()
NAMES = frozenset(SECTIONS["names"])
WORDS = re.compile(rf"\b(?:{'|'.join(SECTIONS['words'])})\b", re.IGNORECASE)
PHRASES = re.compile(
    # A line break inside a phrase may carry the indent and the sign of a comment.
    "|".join(re.escape(p).replace(r"\ ", r"[\s#]+") for p in SECTIONS["phrases"]),
    re.IGNORECASE,
)


def offenses(path: Path) -> list[str]:
    """Lines `file:line: entry` for each listed name, word or phrase."""
    # The name of a module of another package is not ours to spell.
    text = path.read_text().replace("matscipy.neighbours", "matscipy")
    matches = [
        (text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()))
        for pattern in (WORDS, PHRASES)
        for match in pattern.finditer(text)
    ]
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME and token.string in NAMES:
                matches.append((token.start[0], token.string))
    name = path.relative_to(ROOT)
    return [f"{name}:{line}: {entry}" for line, entry in sorted(matches)]


PARTS = (
    *(
        f"packages/{path.parent.name}"
        for path in ROOT.glob("packages/*/pyproject.toml")
    ),
    *("apps", "tests", "tools", ".ci", "README.md", "pyproject.toml"),
)


@pytest.mark.parametrize("part", PARTS)
def test_no_listed_word_is_used(part):
    assert not [line for path in _files(part) for line in offenses(path)]


BRITISH = "neighbor".replace("or", "our")


@pytest.mark.parametrize("text", ["# it is\n    # told", "place = 1", BRITISH])
def test_a_listed_word_is_seen(text, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "module.py").write_text(text)
    assert len(offenses(tmp_path / "module.py")) == 1
