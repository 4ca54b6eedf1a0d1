"""Errors shown to the user, one line each."""


class BenchError(Exception):
    """An error in the input or the environment; the message says what to do."""

    status = 1
    """The exit status of the process."""


class Interrupted(BenchError):
    """The user stopped the command."""

    status = 130


def one_line(error: BaseException) -> str:
    """Returns the message of an error on one line of at most 200 characters."""
    return printable(str(error))[:200] or type(error).__name__


def printable(text: str) -> str:
    """Returns a text on one line, with control characters escaped.

    Args:
        text: of a message; may contain names from users' files.
    """
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in joined)


def abbreviate(value: object) -> str:
    """Returns a value on one line of at most 60 characters."""
    text = printable(str(value))
    return text if len(text) <= 60 else text[:57] + "..."
