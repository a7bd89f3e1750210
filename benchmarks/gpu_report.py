"""A page, with plots, of what `gpu.py` left in its folder.

python benchmarks/gpu_report.py results-gpu --out benchmarks/results/gpu.md
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from gpu_parts import WEIGHTS
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Part = dict[str, Any]
SAMPLES = "samples-0.7.png"
CODE = "```"


def read(folder: Path) -> dict[str, Part]:
    """The JSON of every part that ran, by name."""
    files = [folder / f"{name}.json" for name in WEIGHTS]
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    if not found:
        raise typer.BadParameter(f"{folder} has no JSON of gpu.py, as fast.json")
    return {part["part"]: part for part in found}


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown; a dash where a row has no value, no column where none has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if any(row.get(name) not in (None, "") for row in rows)]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row in rows:
        lines.append("| " + " | ".join(cell(row.get(name)) for name in names) + " |")
    return "\n".join(lines)


def cell(value: object) -> str:
    """Of a Markdown table."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).replace("|", "\\|").replace("\n", " ")


def section(part: Part) -> list[str]:
    """All that a part found."""
    lines = [f"## {part['part']}", "", f"{part['status']}, {part['seconds']} s"]
    lines[-1] += f": {part['headline']}" if part["headline"] else ""
    lines += ["", *(f"- {name}: {cell(value)}" for name, value in part["facts"].items())]
    lines += [f"- warning: {cell(text)}" for text in part["warnings"]]
    for name, rows in part["tables"].items():
        shown = worst_of(rows) if name == "checks" else rows
        if shown:
            lines += ["", f"### {name}", "", table(shown)]
    if part["traceback"]:
        lines += ["", CODE, part["traceback"].replace(CODE, ""), CODE]
    return [*lines, ""]


def worst_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the many checks the worst of each name, and all that do not hold."""
    worst: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = worst.get(row["check"])
        if known is None or (row["value"] or 0.0) > (known["value"] or 0.0):
            worst[row["check"]] = row
    kept = {id(row) for row in worst.values()}
    return [row for row in rows if id(row) in kept or not row["holds"]]


def speed(axes: Axes, part: Part) -> None:
    """Images per second against the batch, a line for every way to train."""
    rows = [row for row in part["tables"].get("training", []) if row.get("images_per_second")]
    ways = dict.fromkeys((row["precision"], row["graph"], row["autotune"]) for row in rows)
    for number, way in enumerate(ways):
        found = [r for r in rows if (r["precision"], r["graph"], r["autotune"]) == way]
        found.sort(key=lambda row: row["batch"])
        label = ", ".join(
            [way[0], *(["graph"] if way[1] else []), *(["autotune"] if way[2] else [])]
        )
        axes.plot(
            [row["batch"] for row in found],
            [row["images_per_second"] for row in found],
            "o-" if way[1] else "o--",
            color=f"C{number}",
            label=label,
        )
    axes.set(xlabel="batch", ylabel="images per second, trained", xscale="log")
    batches = sorted({row["batch"] for row in rows})
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.set_ylim(bottom=0)


def memory(axes: Axes, part: Part) -> None:
    """Peak against depth, a line for each `backprop`."""
    rows = [row for row in part["tables"].get("depths", []) if row.get("peak_gb")]
    for way in dict.fromkeys(row["backprop"] for row in rows):
        found = [row for row in rows if row["backprop"] == way]
        axes.plot([r["depth"] for r in found], [r["peak_gb"] for r in found], "o-", label=way)
    depths = sorted({row["depth"] for row in rows})
    axes.set(xlabel="steps of flow per level", ylabel="GB above parameters and gradients")
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(depths, [str(depth) for depth in depths])


def curve(axes: Axes, part: Part) -> None:
    """Bits per dimension of the images held out, against minutes."""
    rows = part["tables"].get("curve", [])
    minutes = [row["seconds"] / 60 for row in rows]
    axes.plot(minutes, [row["valid_bits_per_dim"] for row in rows], "o-", label="held out")
    axes.axhline(part["facts"].get("goal", 3.35), color="black", linewidth=1, label="the paper's")
    known = sorted(row["valid_bits_per_dim"] for row in rows if row["valid_bits_per_dim"])
    if known:  # the first points may be far above all others
        axes.set_ylim(top=known[int(0.9 * (len(known) - 1))] + 0.05)
    axes.set(xlabel="minutes of training", ylabel="bits per dimension")


PLOTS: dict[str, tuple[str, Callable[[Axes, Part], None]]] = {
    "fast": ("training", speed),
    "deep": ("depths", memory),
    "speedrun": ("curve", curve),
}


def plots(parts: dict[str, Part], out: Path) -> dict[str, list[str]]:
    """Writes what can be drawn beside the page; the names by part."""
    names: dict[str, list[str]] = {}
    for name, (needs, draw) in PLOTS.items():
        if name in parts and parts[name]["tables"].get(needs):
            figure = Figure(figsize=(6, 3.6), layout="constrained")
            axes = figure.subplots()
            draw(axes, parts[name])
            axes.spines[["top", "right"]].set_visible(False)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize="small")
            file = out.with_name(f"{out.stem}-{name}.png")
            figure.savefig(file, dpi=120)
            names[name] = [file.name]
    return names


def command(
    folder: Annotated[Path, typer.Argument(help="what gpu.py was given as --out")],
    *,
    out: Annotated[Path, typer.Option(help="the page; its plots lie beside it")] = Path(
        "benchmarks/results/gpu.md"
    ),
) -> None:
    """Make a page of the parts' JSON."""
    parts = read(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    pictures = plots(parts, out)
    if (folder / SAMPLES).is_file():
        name = f"{out.stem}-{SAMPLES}"
        shutil.copyfile(folder / SAMPLES, out.with_name(name))
        pictures.setdefault("speedrun", []).append(name)
    keys = ("part", "status", "seconds", "headline")
    overview = table([{key: part[key] for key in keys} for part in parts.values()])
    lines = ["# On a GPU", "", "By `python benchmarks/gpu.py`: docs/gpu.md.", "", overview, ""]
    for name, part in parts.items():
        lines += section(part)
        for picture in pictures.get(name, []):
            lines += [f"![{name}]({picture})", ""]
    out.write_text("\n".join(lines), encoding="utf-8")
    print(out)


if __name__ == "__main__":
    typer.run(command)
