"""The Python code blocks of the READMEs run without errors."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = [
    pytest.param(block, id=f"{path.parent.name}-{number}")
    for path in sorted(ROOT.glob("packages/*/README.md"))
    for number, block in enumerate(
        re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)
    )
]


def test_readmes_have_code_blocks():
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("block", BLOCKS)
def test_code_block_runs(block, tmp_path, monkeypatch, optimization_disabled):
    """CI also runs the blocks with full optimization, in environments of the wheels."""
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
