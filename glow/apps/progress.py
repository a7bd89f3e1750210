"""A progress bar with rate and estimate, for what takes more than a second."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

PATIENCE = 1.0  # seconds without a bar


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        rate = task.completed / max(task.elapsed or 0.0, 1e-9)
        return Text(f"{rate:,.0f} images/s")


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives what to call with the number of images that are done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(title, total=total)
    began = time.monotonic()

    def advance(n: int) -> None:
        bar.advance(task, n)
        if time.monotonic() - began > PATIENCE and not bar.finished:
            bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
