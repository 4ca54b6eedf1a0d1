"""What ends a command early, said in one sentence."""


class BenchError(Exception):
    """A mistake in the input or the surroundings; the message says what to do."""

    status = 1
    """The exit status of the process."""


class Interrupted(BenchError):
    """The user stopped the command."""

    status = 130
