"""What every benchmark writes: where it ran, a table, JSON, and a picture."""

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

Rows = list[dict[str, Any]]


def about(command: str, **more: object) -> dict[str, Any]:
    """The command, the machine and the versions that the numbers belong to."""
    return {
        "command": command,
        "device": device_name(),
        "processor_instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **more,
    }


def device_name() -> str:
    """The GPU where there is one, else the processor and its cores."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"{os.cpu_count()} cores, {_processor()}"


def device() -> torch.device:
    """Where benchmarks run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def table(rows: Rows) -> str:
    """The rows as Markdown."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def save(
    out: Path,
    about: dict[str, Any],
    rows: Rows,
    figure: Figure | None = None,
    **details: object,
) -> None:
    """Prints the table; writes it as JSON and Markdown, and the picture beside them.

    Args:
        out: the JSON file.
        about: where the numbers come from.
        rows: of the table.
        figure: the picture, if there is one.
        details: more, for the JSON file alone.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {**about, "rows": rows, **details}
    out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    facts = [f"- {key}: {value}" for key, value in about.items()]
    text = "\n".join([f"# {out.stem}", "", *facts, "", table(rows), ""])
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    if figure is not None:
        figure.savefig(out.with_suffix(".png"), dpi=120, bbox_inches="tight")
    print(table(rows), file=sys.stdout)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
