"""Choices that are settings and options of a command; loads no other module."""

from typing import Literal

Mode = Literal["dev", "fast", "standard"]
"""Durations of the stages of a simulation."""
