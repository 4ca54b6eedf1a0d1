"""Runs the Python code blocks of a README: `python run_readme.py README.md`.

A block after a line `<!-- needs: flax, jax-md -->` is skipped if one of these packages
is not installed. The root's tests run all blocks.
"""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

text = Path(sys.argv[1]).read_text()
pattern = r"(?:<!-- needs: ([^\n]*) -->\n+)?```python\n(.*?)```"
run = skipped = 0
for needs, block in re.findall(pattern, text, re.DOTALL):
    packages = [name.strip() for name in needs.split(",") if name.strip()]
    missing = [p for p in packages if find_spec(p.replace("-", "_")) is None]
    if missing:
        skipped += 1
        print(f"skipped a block that needs {', '.join(missing)}")
        continue
    exec(compile(block, sys.argv[1], "exec"), {"__name__": "readme"})
    run += 1
print(f"ran {run} code blocks of {sys.argv[1]}, skipped {skipped}")
