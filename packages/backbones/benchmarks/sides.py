"""Processes of a benchmark that are timed in alternation, each in its environment."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from serving import PREFIX

PYTHON_VARIABLES = {"mlip": "MLIP_PYTHON", "mace-torch": "MACE_TORCH_PYTHON"}
"""Environment variables with the path of a Python that has the package."""


class Side:
    """A process that runs one repetition of a task on request.

    Args:
        script: of the side; `uv run` makes its environment from its header.
        settings: of the side, passed as JSON.
        package: that the side needs; None to use this Python.
    """

    def __init__(self, script, settings, package=None):
        if package is None:
            command = [sys.executable, str(script)]
        elif PYTHON_VARIABLES[package] in os.environ:
            command = [os.environ[PYTHON_VARIABLES[package]], str(script)]
        else:
            command = ["uv", "run", "--quiet", "--script", str(script)]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115, open until the end
        # Sides of other folders import from this one; first steps include compilation.
        variables = {
            "PYTHONPATH": str(Path(__file__).parent),
            "JAX_ENABLE_COMPILATION_CACHE": "false",
        }
        self.process = subprocess.Popen(
            [*command, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | variables,
        )
        self.properties = self._read()

    def _read(self):
        for line in self.process.stdout:
            if line.startswith(PREFIX):
                return json.loads(line.removeprefix(PREFIX))
        self.log.seek(0)
        raise SystemExit(f"{self.process.args} failed:\n{self.log.read()[-2000:]}")

    def seconds(self, task):
        """Runs one repetition of a task and returns its seconds."""
        print(task, file=self.process.stdin, flush=True)
        return self._read()

    def end(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()
