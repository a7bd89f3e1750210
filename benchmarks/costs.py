"""Seconds per step of contenders, plain and under `torch.compile`, in interleaved rounds.

Where threads are several the clock is the wall's, which wants a quiet machine; of one thread it is
the processor's. Compiling is timed apart, on the wall's. The faster form of a contender is what it
trains in.
"""

import json
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import report
import torch
from contenders import Contender
from learners import Learner
from rich.console import Console
from rich.progress import track

from glow.atomic import make_folder, write_atomically
from stages.shards import ShardSet

FILE = "costs.json"
ROUNDS, ROUND_STEPS = 5, 3
FOREVER = 10**9  # steps of a training that is only measured


def measure(
    shards: ShardSet, contenders: dict[str, Contender], *, threads: int, compiling: bool = True
) -> dict[str, dict[str, Any]]:
    """Of every contender: recipe, seconds per step, of compiling, and which form is faster."""
    torch.set_num_threads(threads)
    costs: dict[str, dict[str, Any]] = {}
    learners: dict[tuple[str, str], Learner] = {}
    console = Console(stderr=True)
    for name, contender in track(contenders.items(), "warm up", console=console):
        costs[name] = {"recipe": asdict(contender), "threads": threads}
        learners[name, "plain"] = learner = contender.learner(shards, FOREVER, seed=0)
        learner.update(0.0)
        if compiling and contender.kind != "glow":
            learner = contender.learner(shards, FOREVER, seed=0, compiled=True)
            began = time.perf_counter()
            try:
                learner.update(0.0)
            except Exception as error:  # of any of the compiler's parts; the plain form remains
                costs[name]["compile_error"] = f"{type(error).__name__}: {error}"[:300]
                continue
            costs[name]["compile_seconds"] = round(time.perf_counter() - began, 1)
            learner.update(0.0)
            learners[name, "compiled"] = learner
    clock = time.process_time if threads == 1 else time.perf_counter
    times: dict[tuple[str, str], list[float]] = {key: [] for key in learners}
    for _ in track(range(ROUNDS), "seconds per step", console=console):
        for key, learner in learners.items():
            began = clock()
            for _ in range(ROUND_STEPS):
                learner.update(0.0)
            times[key].append((clock() - began) / ROUND_STEPS)
    for (name, form), seconds in times.items():
        costs[name][f"{form}_seconds"] = round(statistics.median(seconds), 6)
        costs[name][f"{form}_rounds"] = [round(value, 5) for value in seconds]
    for cost in costs.values():
        forms = [form for form in ("plain", "compiled") if f"{form}_seconds" in cost]
        cost["form"] = min(forms, key=lambda form: cost[f"{form}_seconds"])
        cost["seconds"] = cost[f"{cost['form']}_seconds"]
    return costs


def write(out: Path, costs: dict[str, dict[str, Any]]) -> None:
    """Into the folder's file, beside those of contenders that were measured before."""
    content = {**report.about("python benchmarks/cifar10.py costs"), "contenders": {}}
    if (out / FILE).is_file():
        content["contenders"] = json.loads((out / FILE).read_text(encoding="utf-8"))["contenders"]
    content["contenders"] |= costs
    make_folder(out)
    write_atomically(out / FILE, (json.dumps(content, indent=2) + "\n").encode())


def read(out: Path, name: str, contender: Contender) -> dict[str, Any]:
    """What `write` wrote of a contender; ValueError where it was another recipe, or none."""
    file = out / FILE
    known = json.loads(file.read_text(encoding="utf-8"))["contenders"] if file.is_file() else {}
    if name not in known or known[name]["recipe"] != asdict(contender):
        raise ValueError(
            f"{file} does not have the cost of {name} as it is in contenders.py; "
            f"`python benchmarks/cifar10.py costs {name}` measures it"
        )
    return known[name]
