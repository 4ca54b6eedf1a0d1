"""The repository uses the field's words, not its own.

`data/dialect.txt` lists names, words and phrases that readers stumbled over.
"""

import io
import re
import subprocess
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


def _files() -> list[Path]:
    """Sources, tests, READMEs and templates, as git lists them."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (ROOT / name for name in listed.stdout.splitlines())
    return [p for p in paths if p.suffix in SUFFIXES and p.is_file()]


SECTIONS = _sections()
NAMES = frozenset(SECTIONS["names"])
WORDS = re.compile(rf"\b(?:{'|'.join(SECTIONS['words'])})\b", re.IGNORECASE)
PHRASES = re.compile(
    # A line break inside a phrase may carry the indent and the sign of a comment.
    "|".join(p.replace(" ", r"[\s#]+") for p in SECTIONS["phrases"]),
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


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_listed_word_is_used(path):
    assert not offenses(path)
