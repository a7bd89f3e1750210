"""Contestants timed in interleaved rounds, each in a process of its own.

A machine that other work shares is fast in one minute and slow in the next, so every round times
every contestant once, and a ratio is that of the medians over the rounds of one run.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

ROUND_SECONDS = 0.5  # short work is repeated, for the clock and for waiting threads to settle

# What a contestant is: a function of the module level that prepares it and returns the work.
Prepare = Callable[..., Callable[[], object]]


@dataclass(frozen=True)
class Contestant:
    """A name, the function that prepares its work, and that function's arguments."""

    name: str
    prepare: Prepare
    arguments: Mapping[str, Any] = field(default_factory=dict)


def seconds(contestants: list[Contestant], rounds: int, title: str) -> dict[str, list[float]]:
    """Of each contestant's work, in every round; a first round that is not counted warms up."""
    context = multiprocessing.get_context("spawn")
    times: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    with ExitStack() as stack:
        ends = {}
        for contestant in contestants:
            ours, theirs = context.Pipe()
            # no daemon, which could start no workers; it ends when its pipe is closed
            process = context.Process(target=_serve, args=(theirs, contestant))
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(ours.close)
            ends[contestant.name] = ours
        for number in track(range(rounds + 1), title, console=Console(stderr=True)):
            for name, end in ends.items():
                end.send("again")
                took = end.recv()
                if number:
                    times[name].append(took)
    return times


def ratio(times: dict[str, list[float]], faster: str, slower: str) -> float:
    """How many times as fast: the ratio of the medians."""
    return statistics.median(times[slower]) / statistics.median(times[faster])


def _serve(end: Connection, contestant: Contestant) -> None:
    work = contestant.prepare(**contestant.arguments)
    times = 1
    while True:
        try:
            end.recv()
        except EOFError:
            return
        took = _timed(work, 1)  # warms up what the other contestants have cooled
        times = max(times, min(100, int(ROUND_SECONDS / took)))
        end.send(_timed(work, times) / times)


def _timed(work: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
