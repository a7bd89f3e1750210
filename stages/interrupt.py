"""SIGTERM and Ctrl-C, answered where nothing is half done."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupt:
    """Remembers a signal until it is asked."""

    def __init__(self) -> None:
        self.number = 0

    def raise_if_any(self) -> None:
        """SystemExit(128 + number) after a signal, as a shell reports it."""
        if self.number:
            raise SystemExit(128 + self.number)


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Inside, signals wait for `raise_if_any`; a second one ends the process at once."""
    interrupt = Interrupt()

    def remember(number: int, _frame: FrameType | None) -> None:
        interrupt.number = number
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, remember) for number in SIGNALS}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_on_sigterm() -> None:
    """SIGTERM raises SystemExit(143), so that half-written outputs are cleared away."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
