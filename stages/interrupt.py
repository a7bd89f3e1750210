"""SIGTERM and Ctrl-C, answered where nothing is half done."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stages.launch import PARENT

SIGNALS = (signal.SIGTERM, signal.SIGINT)
PATIENCE = 2.0  # seconds of waiting after a signal


class Interrupt:
    """Remembers a signal until it is asked."""

    def __init__(self) -> None:
        self.number = 0
        self._parent = os.environ.get(PARENT)

    def __call__(self) -> bool:
        """Whether to stop: a signal came, or who started and would end this process is gone."""
        return bool(self.number) or (self._parent not in (None, str(os.getppid())))

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside nothing is half done: who is to stop leaves, if what it waits for takes long."""
        signal.setitimer(signal.ITIMER_REAL, PATIENCE, PATIENCE)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def leave(self) -> None:
        """SystemExit(128 + signal), as a shell reports it; SIGTERM's if another process got it."""
        raise SystemExit(128 + (self.number or signal.SIGTERM))


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Inside, signals wait until they are asked for; a second one ends the process at once."""
    interrupt = Interrupt()

    def remember(number: int, _frame: FrameType | None) -> None:
        interrupt.number = number
        signal.signal(number, signal.SIG_DFL)

    def look(_number: int, _frame: FrameType | None) -> None:
        if interrupt():
            interrupt.leave()

    before = {number: signal.signal(number, remember) for number in SIGNALS}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, look)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_on_signals() -> None:
    """They raise SystemExit(128 + signal), so that half-written outputs are cleared away."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in SIGNALS:
        signal.signal(number, leave)
