"""Errors shown to the user, on one line each."""


class BenchError(Exception):
    """A mistake in the input or the surroundings; the message says what to do."""

    status = 1
    """The exit status of the process."""


class Interrupted(BenchError):
    """The user stopped the command."""

    status = 130


def in_short(error: BaseException) -> str:
    """What a library said, on one line of at most 200 characters."""
    return one_line(str(error))[:200] or type(error).__name__


def one_line(text: str) -> str:
    """A text on one line, with what a terminal would obey written out.

    Args:
        text: of a message; it may hold names that others chose.
    """
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in joined)


def abbreviated(value: object) -> str:
    """A value on one line of at most 60 characters."""
    text = one_line(str(value))
    return text if len(text) <= 60 else text[:57] + "..."
