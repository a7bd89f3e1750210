"""Progress with a rate and an estimate, on a terminal and in a log."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

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

LOG_SECONDS = 15.0


class Advance(Protocol):
    """Says that `count` more are done, and what else is worth a look."""

    def __call__(self, count: int = 1, note: str = "") -> None:
        """Counts on."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields["unit"]
        return Text(f"{speed:,.0f} {unit}/s" if speed else f"- {unit}/s")


@contextmanager
def progress(title: str, total: int, unit: str, *, start: int = 0) -> Iterator[Advance]:
    """A bar on a terminal; elsewhere (a CI log, Prefect) a line every quarter of a minute.

    Of several processes the first alone shows it.
    """
    if os.environ.get("RANK", "0") != "0":
        yield lambda count=1, note="": None
        return
    if sys.stderr.isatty():
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate()
        with Progress(
            *columns,
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        ) as bar:
            task = bar.add_task(title, total=total, completed=start, unit=unit, note="")
            yield lambda count=1, note="": bar.update(task, advance=count, note=note)
        return
    began = logged = time.monotonic()
    done = 0

    def advance(count: int = 1, note: str = "") -> None:
        nonlocal done, logged
        done += count
        now = time.monotonic()
        if now - logged > LOG_SECONDS or start + done == total:
            logged = now
            rate = done / max(now - began, 1e-9)
            left = (total - start - done) / rate
            print(
                f"{title}: {start + done}/{total} {unit}, {rate:,.1f} {unit}/s, "
                f"{left:.0f} s left {note}".rstrip(),
                file=sys.stderr,
                flush=True,
            )

    yield advance
