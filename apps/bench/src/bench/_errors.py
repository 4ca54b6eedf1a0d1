"""What the user can mend, said in one sentence."""


class BenchError(Exception):
    """A mistake in the input or the surroundings; the message says what to do."""
