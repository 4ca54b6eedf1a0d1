"""What ends a command early, said in one sentence."""


class BenchError(Exception):
    """A mistake in the input or the surroundings; the message says what to do."""

    status = 1
    """The exit status of the process."""


class Interrupted(BenchError):
    """The user stopped the command."""

    status = 130


def in_short(error: BaseException) -> str:
    """What a library said, on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
