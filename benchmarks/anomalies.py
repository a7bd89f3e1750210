"""Which score notices which images: AUROC of held-out avatars against images that are none.

0.5 is guessing; below it, a score finds the odd images more ordinary than the held-out ones.

    dvc pull && python benchmarks/anomalies.py data/shards models/glow
"""

from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import report
import typer
from areas import auroc
from matplotlib.figure import Figure
from oddities import TILES, Oddities

from glow import load_glow, to_pixels
from glow.scores import Calibration, Scores, gather
from stages.figures import save_grid
from stages.score_table import ALARM
from stages.shards import ShardSet

SHOWN = 10


def picture(rows: report.Rows, scores: list[str]) -> Figure:
    """The table in colours: red is wrong, white guessing, blue right."""
    values = np.array([[float(row[score]) for score in scores] for row in rows])
    figure = Figure(figsize=(1.1 * len(scores) + 3, 0.33 * len(rows) + 1.2))
    axes = figure.add_subplot()
    axes.imshow(values, cmap=matplotlib.colormaps["RdBu"], vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(scores)), scores, rotation=30, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(rows)), [row["images"] for row in rows])
    axes.tick_params(length=0)
    for (y, x), value in np.ndenumerate(values):
        strong = abs(value - 0.5) > 0.35
        axes.text(x, y, f"{value:.2f}", ha="center", va="center", color="w" if strong else "k")
    return figure


def flagged(calibration: Calibration, found: Scores) -> dict[str, float]:
    """Share of the images above the 95th percentile of valid, by score."""
    percentiles = calibration.percentiles(found).items()
    return {name: round(float((p > ALARM).double().mean()), 4) for name, p in percentiles}


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards, of preprocess")],
    model: Annotated[Path, typer.Argument(help="folder of the trained model")],
    *,
    photographs: Annotated[
        Path | None, typer.Option(help="folder of photographs, to be cut into tiles")
    ] = None,
    n: Annotated[int, typer.Option(help="images per odd set", min=1)] = 500,
    seed: Annotated[int, typer.Option(help="of noise and of what is drawn")] = 0,
    out: Annotated[Path, typer.Option(help="JSON to write; Markdown and PNGs beside it")] = Path(
        "benchmarks/results/anomalies.json"
    ),
) -> None:
    """Score held-out avatars and images that are none."""
    glow, data = load_glow(model, device=str(report.device())), ShardSet.open(shards)
    valid, test = data.load("valid")[0], data.load("test")[0]
    calibration = Calibration.of(gather(glow, valid, seed=seed))
    ordinary = calibration.scores(gather(glow, test, seed=seed))
    shares = {"held-out avatars": flagged(calibration, ordinary)}
    examples, rows = {"held-out avatars": test[:SHOWN]}, []
    for name, levels in Oddities(glow, test, n, seed, photographs):
        odd = calibration.scores(gather(glow, levels, seed=seed))
        areas = {score: f"{auroc(ordinary[score], odd[score])[0]:.3f}" for score in odd}
        rows.append({"images": name, "n": len(levels), **areas})
        shares[name] = flagged(calibration, odd)
        if name != TILES:
            examples[name] = levels[:SHOWN].cpu()
        print(rows[-1], flush=True)
    with_photographs = "" if photographs is None else " --photographs photographs"
    about = report.about(
        f"python benchmarks/anomalies.py {shards} {model}{with_photographs} --n {n}",
        seed=seed,
        ordinary=f"{len(test)} test images; calibrated on {len(valid)} valid images",
        data=data.checksum,
    )
    scores = list(ordinary)
    worst = {score: min(row[score] for row in rows) for score in scores}
    rows.append({"images": "the worst of these", "n": "", **worst})
    report.save(out, about, rows, picture(rows, scores), flagged_at_95th_percentile=shares)
    grid = [to_pixels(levels, data.n_bits) for levels in examples.values()]
    save_grid(out.with_name(f"{out.stem}-images.png"), grid, list(examples))


if __name__ == "__main__":
    typer.run(command)
