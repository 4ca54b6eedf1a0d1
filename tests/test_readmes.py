"""The Python code blocks of the READMEs run without errors.

All of them: the packages that blocks after `<!-- needs: ... -->` use are in the
development dependencies.
"""

import re
import subprocess
import sys
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


def test_a_wheel_alone_skips_blocks_that_need_other_packages(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(
        "```python\nprint('first')\n```\n"
        "<!-- needs: pytest, no-such-package -->\n\n```python\n1 / 0\n```\n"
        "<!-- needs: pytest -->\n```python\nprint('second')\n```\n"
    )
    command = [sys.executable, ROOT / ".ci" / "run_readme.py", readme]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.splitlines() == [
        "first",
        "skipped a block that needs no-such-package",
        "second",
        f"ran 2 code blocks of {readme}, skipped 1",
    ]
