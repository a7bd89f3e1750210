"""Pictures of edits: success against leakage, and faces edited by each estimator."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from glow import Glow
from stages.charts import chart, short
from stages.edits import SUCCESSES, Faces, at_success
from stages.figures import save_grid, to_bytes

COLUMNS = 5
SHOWN = SUCCESSES[0]


def save_curves(file: Path, edits: pd.DataFrame) -> None:
    """Leakage over success as alpha grows, a panel per attribute and a line per estimator."""
    names = list(edits["attribute"].unique())
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    with chart(file, names, figsize=(2.6 * columns, 2.3 * rows + 0.4), dpi=100) as figure:
        panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
        for panel in panels[len(names) :]:
            panel.set_axis_off()
        for panel, name in zip(panels, names, strict=False):
            of_attribute = edits[edits["attribute"] == name]
            for estimator, points in of_attribute.groupby("estimator", sort=False):
                panel.plot(points["success"], points["leakage"], marker=".", label=str(estimator))
            panel.set_title(short(name), fontsize=9)
            panel.set_ylim(bottom=0)
            panel.tick_params(labelsize=7)
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="lower center", ncols=4, frameon=False
        )
        figure.supxlabel("success: the attribute appears", fontsize=9, y=0.06)
        figure.supylabel("leakage: another changes", fontsize=9)
        figure.tight_layout(rect=(0, 0.06, 1, 1))


def save_steps(
    file: Path, glow: Glow, faces: Faces, vector: Tensor, alphas: Sequence[float]
) -> None:
    """A face per row, an alpha per column."""
    columns = [faces.x] + [faces.edited(glow, vector, alpha)[0] for alpha in alphas]
    pixels = torch.stack([to_bytes(column, glow.config.n_bits) for column in columns], dim=1)
    save_grid(file, list(pixels))


def save_comparison(
    file: Path, glow: Glow, faces: Faces, moves: Mapping[str, Tensor], edits: pd.DataFrame
) -> None:
    """A face per column, a row per estimator, each where four of five edits succeed.

    Args:
        file: PNG to write.
        glow: the model.
        faces: to edit.
        moves: of each estimator, (D,) or (N, D).
        edits: rows of `judge_edits`; an estimator that does not get there is shown at its last.
    """
    rows = {"original": faces.x}
    for name, direction in moves.items():
        of_estimator = edits[edits["estimator"] == name]
        alpha, _ = at_success(of_estimator, SHOWN)
        alpha = float(of_estimator["alpha"].max()) if math.isnan(alpha) else alpha
        rows[f"{name} {alpha:.2f}"] = faces.edited(glow, direction, alpha)[0]
    save_grid(file, [to_bytes(x, glow.config.n_bits) for x in rows.values()], list(rows))
