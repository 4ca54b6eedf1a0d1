"""Processes that are timed against each other, each in an environment of its own."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from answering import MARK

PEERS = {"mlip": "MLIP_PYTHON", "mace-torch": "MACE_TORCH_PYTHON"}
"""Variables that may name a Python that has a peer."""


class Side:
    """A process that does one repetition of a work when asked.

    Args:
        script: of the side; `uv run` makes its environment from its header.
        given: settings for it, as JSON.
        peer: whose it is; None where this Python has all it needs.
    """

    def __init__(self, script, given, peer=None):
        if peer is None:
            command = [sys.executable, str(script)]
        elif PEERS[peer] in os.environ:
            command = [os.environ[PEERS[peer]], str(script)]
        else:
            command = ["uv", "run", "--quiet", "--script", str(script)]
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115, lives as long
        # Sides elsewhere build the same models; first steps are timed with compilation.
        own = {"PYTHONPATH": str(Path(__file__).parent)}
        self.process = subprocess.Popen(
            [*command, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            env=os.environ | own | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
        )
        self.facts = self._line()

    def _line(self):
        for line in self.process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        self.said.seek(0)
        raise SystemExit(f"{self.process.args} failed:\n{self.said.read()[-2000:]}")

    def seconds(self, work):
        """Has one repetition done."""
        print(work, file=self.process.stdin, flush=True)
        return self._line()

    def end(self):
        """Lets the process go."""
        self.process.stdin.close()
        self.process.wait()
