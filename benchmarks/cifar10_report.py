"""What `cifar10.py report` writes: a table, curves against minutes, and the paper beside them."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import costs
import report
import typer
from contenders import CONTENDERS
from matplotlib.figure import Figure

PAPER = {
    "bits_per_dim": 3.35,
    "model": "L 3, K 32, width 512, about 44 million parameters",
    "cost": "batch 512 with 8 workers; about 24 GFLOP for each image of a step",
}
DISTRIBUTIONS = ("torch", "normflows", "antsnormflows", "jet-pytorch")
STYLES = {"adamax": ":", "adamw": "--", "muon": "-"}
OURS = "glow"


def read(folder: Path) -> list[dict[str, Any]]:
    """The trainings of a folder, whole or not, the best first."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*-seed*.json")]
    order = {name: n for n, name in enumerate(CONTENDERS)}
    return sorted(
        found,
        key=lambda one: (
            (one["row"] or {}).get("test_bits_per_dim") or float("inf"),
            order.get(one["name"], len(order)),
            one["seed"],
        ),
    )


def reached(bits: float | None, ours: list[dict[str, Any]]) -> float | None:
    """Minutes after which a training of ours has that many valid bits per dimension, or fewer.

    Linear between the points of its curve; the least of all trainings, those of fewer minutes
    among them.
    """
    if bits is None:
        return None
    minutes = []
    for training in ours:
        before = None
        for point in training["curve"]:
            now = point["valid_bits_per_dim"]
            if now is not None and now <= bits:
                share = 1.0
                if before is not None and before["valid_bits_per_dim"] is not None:
                    high = before["valid_bits_per_dim"]
                    share = (high - bits) / (high - now)
                start = 0.0 if before is None else before["minutes"]
                minutes.append(start + share * (point["minutes"] - start))
                break
            before = point
    return round(min(minutes), 1) if minutes else None


def plot(trainings: list[dict[str, Any]]) -> Figure:
    """A colour for each package, a line style for each optimiser, and the paper's number."""
    figure = Figure(figsize=(9.5, 5), layout="constrained")
    axes = figure.subplots()
    kinds = list(dict.fromkeys(who.kind for who in CONTENDERS.values()))
    labelled, heights = set(), []
    for training in trainings:
        points = [p for p in training["curve"] if p["valid_bits_per_dim"] is not None]
        if not points:
            continue
        recipe = training["recipe"]
        label = f"{training['name']}, {training['minutes']:g} min"
        values = [point["valid_bits_per_dim"] for point in points]
        heights += values[len(values) // 6 :]
        axes.plot(
            [point["minutes"] for point in points],
            values,
            STYLES[recipe["optimizer"]],
            color=f"C{kinds.index(recipe['kind'])}",
            label="_" if label in labelled else label,
        )
        labelled.add(label)
    axes.axhline(PAPER["bits_per_dim"], color="0.6", linewidth=1)
    axes.annotate(
        "the paper's Glow, K 32, width 512, 8 workers", (0.01, PAPER["bits_per_dim"]),
        xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
        color="0.4", fontsize=8,
    )  # fmt: skip
    if heights:
        axes.set_ylim(min(*heights, PAPER["bits_per_dim"]) - 0.05, max(heights) + 0.05)
    axes.set(xlabel="minutes of two cores", ylabel="valid bits per dimension")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def versions() -> dict[str, str]:
    """Of the packages that are compared, where they are installed."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def write(folder: Path, out: Path) -> None:
    """JSON, Markdown and picture of a folder's trainings; BadParameter where none is whole."""
    trainings = read(folder)
    whole = [training for training in trainings if training["row"] is not None]
    if not whole:
        raise typer.BadParameter(f"{folder} has no training that is whole, expected one at least")
    ours = [training for training in trainings if training["recipe"]["kind"] == OURS]
    rows = []
    for training in whole:
        row, recipe = dict(training["row"]), training["recipe"]
        foreign = recipe["kind"] != OURS
        row["ours_gets_there_in_minutes"] = (
            reached(row["valid_bits_per_dim"], ours) if foreign else ""
        )
        row["learning_rate"] = recipe["learning_rate"]
        row["muon_learning_rate"] = (
            recipe["muon_learning_rate"] if recipe["optimizer"] == "muon" else ""
        )
        row["size"] = ", ".join(f"{key} {value}" for key, value in recipe["size"].items())
        rows.append(row)
    file = folder / costs.FILE
    measured = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    about = {
        "command": "python benchmarks/cifar10.py costs; run NAME --minutes M --seed S; report",
        "device": measured.get("device", report.device_name()),
        "processor_instructions": measured.get("processor_instructions", ""),
        "threads": sorted({cost["threads"] for cost in measured["contenders"].values()})
        if measured
        else "",
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "data": ", ".join(sorted({training["data"] for training in whole})),
        "paper": f"{PAPER['bits_per_dim']} bits/dim: {PAPER['model']}; {PAPER['cost']}",
    }
    report.save(out, about, rows, plot(trainings), costs=measured, trainings=trainings)
