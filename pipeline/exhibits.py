"""What Prefect's UI shows of a stage: its metrics, its largest pictures, its MLflow runs.

Which files these are says dvc.yaml: the metrics of a stage, and the PNGs among its outputs.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from prefect import get_run_logger
from prefect.artifacts import create_image_artifact, create_link_artifact, create_markdown_artifact

from pipeline.dag import address, project_root

MAX_PICTURES, MAX_PICTURE_BYTES = 3, 500_000  # they are kept in the database of the server
TRACKED = re.compile(r"^MLflow run (?P<name>.+): (?P<url>https?://\S+)")  # as a stage prints it
# ASCII punctuation, but for `_`, `-` and `.` between letters or digits, as in Black_Hair.png
MARKUP = re.compile(
    r"[!-,/:-@\[-^`{-~]|(?<![^\W_])[_.-]|[_.-](?![^\W_])|(?<=www)\.", re.IGNORECASE
)

Table = Mapping[str, Any]


def exhibit(stage: str, lines: Iterable[str]) -> None:
    """Makes artifacts of a task run; trouble with one is a warning, since the stage is done.

    Args:
        stage: its name in dvc.yaml.
        lines: what it printed.
    """
    try:
        metrics, pictures = _outputs(stage)
        for file in metrics:
            table = markdown(json.loads(file.read_text()))
            (key,) = keys(stage, [f"{file.stem}-metrics"])
            create_markdown_artifact(table, key=key, description=text(file.name))
        for file, key in zip(pictures, keys(stage, [file.stem for file in pictures]), strict=True):
            data = base64.b64encode(file.read_bytes()).decode()
            create_image_artifact(
                f"data:image/png;base64,{data}", key=key, description=text(file.name)
            )
        for found in filter(None, map(TRACKED.match, lines)):
            (key,) = keys(stage, ["mlflow"])
            create_link_artifact(found["url"], text(found["name"]), key=key)
    except Exception as error:
        get_run_logger().warning("no artifacts of stage %r: %s", stage, error)


def markdown(metrics: Table) -> str:
    """Tables of the numbers: a row per nested mapping, and before these the ones that are not."""
    plain = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    nested = {
        name: {key: number for key, number in value.items() if isinstance(number, int | float)}
        for name, value in metrics.items()
        if isinstance(value, Mapping)
    }
    parts = [_table(["metric", "value"], plain.items())] if plain else []
    for columns in dict.fromkeys(tuple(row) for row in nested.values() if row):
        rows = ((name, *row.values()) for name, row in nested.items() if tuple(row) == columns)
        parts.append(_table(["", *columns], rows))
    return "\n\n".join(parts)


def text(name: str) -> str:
    """The name as Markdown that shows it as it is: no link, picture, HTML or end of a cell."""
    return MARKUP.sub(r"\\\g<0>", " ".join(name.split()))


def keys(stage: str, names: Sequence[str]) -> list[str]:
    """Of artifacts: lowercase letters, digits and dashes; different for different names."""
    plain = [re.sub(r"[^a-z0-9]+", "-", f"{stage}-{name}".lower()).strip("-") for name in names]
    return [
        key if plain.count(key) == 1 else f"{key}-{sha256(name.encode()).hexdigest()[:10]}"
        for key, name in zip(plain, names, strict=True)
    ]


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head, *lines = (" | ".join(map(_cell, line)) for line in (columns, *rows))
    rule = " | ".join(["---"] * len(columns))
    return "\n".join(f"| {line} |" for line in (head, rule, *lines))


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else text(str(value))


def _outputs(stage: str) -> tuple[list[Path], list[Path]]:
    """The metrics, and the largest pictures."""
    with Repo(str(project_root())) as repo:
        found = [item for item in repo.index.stages if item.cmd and address(item) == stage]
        outs = [out for item in found for out in item.outs if out.exists]
        metrics = [Path(out.fs_path) for out in outs if out.metric]
        others = [Path(out.fs_path) for out in outs if not out.metric]
    files = [file for path in others for file in ([path] if path.is_file() else path.rglob("*"))]
    sizes = {file: file.stat().st_size for file in sorted(files) if file.suffix == ".png"}
    small = [file for file, size in sizes.items() if size <= MAX_PICTURE_BYTES]
    largest = sorted(small, key=sizes.__getitem__, reverse=True)
    return [file for file in metrics if file.suffix == ".json"], largest[:MAX_PICTURES]
