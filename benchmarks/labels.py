"""Do scores tell who has an attribute? AUROC of every score for every attribute, held-out images.

0.5 is guessing; above, images with the attribute score as odder. Also among those alone that have
another attribute or lack it: where one attribute costs many bits, it hides the others.

    python benchmarks/labels.py data/shards results/scores.csv
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
import report
import torch
import typer
from torch import Tensor

from stages.probe import auroc
from stages.shards import ShardSet

LEAST = 20  # images of either kind, for a number to mean something


def labelled(shards: ShardSet, scores: Path) -> pd.DataFrame:
    """The rows of scores.csv, with the attributes of their images."""
    known = [
        {"split": split, "name": sample.name, **sample.attributes}
        for split in ("valid", "test")
        for sample in shards.samples(split)
    ]
    return pd.read_csv(scores).merge(pd.DataFrame(known), on=["split", "name"], validate="1:1")


def rows_of(table: pd.DataFrame, attributes: list[str], scores: list[str]) -> report.Rows:
    """A row per attribute, and per attribute among the images with or without another."""
    groups = {"all": table}
    for name in attributes:
        groups |= {name: table[table[name]], f"not {name}": table[~table[name]]}
    rows = []
    for attribute in attributes:
        for among, some in groups.items():
            n = int(some[attribute].sum())
            if min(n, len(some) - n) < LEAST:
                continue
            of_scores = torch.tensor(some[scores].to_numpy())
            present = torch.tensor(some[attribute].to_numpy())[:, None].expand_as(of_scores)
            row = {"attribute": attribute, "among": among, "with": n, "without": len(some) - n}
            rows.append(row | dict(zip(scores, _rounded(auroc(of_scores, present)), strict=True)))
    return rows


def _rounded(found: Tensor) -> list[float]:
    return [round(value, 3) for value in found.tolist()]


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards, of preprocess")],
    scores: Annotated[Path, typer.Argument(help="scores.csv, of evaluate")],
    out: Annotated[Path, typer.Option(help="JSON to write")] = Path("labels.json"),
) -> None:
    """AUROC of every score for every attribute.

    Example: python benchmarks/labels.py data/shards results/scores.csv
    """
    opened = ShardSet.open(shards)
    table = labelled(opened, scores)
    names = [
        name
        for name in table.columns
        if f"{name}_percentile" in table.columns and name not in opened.attribute_names
    ]
    about = report.about(
        f"python benchmarks/labels.py {shards} {scores}",
        source=opened.manifest["source"],
        credit=opened.manifest["credit"],
    )
    report.save(out, about, rows_of(table, opened.attribute_names, names))


if __name__ == "__main__":
    typer.run(command)
