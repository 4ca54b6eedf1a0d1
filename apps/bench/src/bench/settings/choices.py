"""Choices of options of commands; loads no other module of bench."""

import enum
from typing import Literal

Mode = Literal["dev", "fast", "standard"]
"""Durations of the stages of a simulation."""


class LoggerName(enum.StrEnum):
    """Loggers of epochs. Typer has no literals for options that may be repeated."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
