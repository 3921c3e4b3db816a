"""What a probe says instead of a number."""


class UnmeasuredError(Exception):
    """A number cannot be measured; the message says why. It is recorded as None, with this as its note."""
