"""Runs the Python code blocks of a README: `python run_readme.py README.md`."""

import re
import sys
from pathlib import Path

blocks = re.findall(r"```python\n(.*?)```", Path(sys.argv[1]).read_text(), re.DOTALL)
for block in blocks:
    exec(compile(block, sys.argv[1], "exec"), {"__name__": "readme"})
print(f"{len(blocks)} blocks ran")
