"""Settings of the machine, not of the model: numbers in the environment (docs/cluster.md)."""

import os

from stages.errors import InputError


def number(variable: str, expected: str, least: int = 0) -> int | None:
    """The value of an environment variable; None where it is not set.

    Raises:
        InputError: it is not a whole number, or less than `least`; `expected` says what it is for.
    """
    text = os.environ.get(variable, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"{variable} is {text!r}, expected {expected}")
    return int(text)
