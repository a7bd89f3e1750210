"""The known failure of likelihood, measured: models of photographs that prefer other images.

Flows trained on CIFAR-10 find plainer images of other kinds likelier than its own test images,
and flows trained on Fashion-MNIST find digits so (Nalisnick et al. 2019; Serra et al. 2020). Here
every score of `glow/scores.py` is asked: AUROC of held-out images of the model's own data set
against each other set. 0.5 is guessing; below it, a score finds the strangers more ordinary.

A model with classes sees each image, ordinary or not, as of the class under which it is likeliest.

    python benchmarks/known_failure.py --cifar10 SHARDS MODEL --fashion-mnist SHARDS MODEL \
        --photographs FOLDER
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import report
import torch
import typer
from areas import auroc
from matplotlib.figure import Figure
from strangers import Strangers
from torch import Tensor

from glow import Glow, dequantize
from glow.scores import Calibration, Evidence, Scores, gather
from glow.weights import weights_hash
from stages.errors import InputError, run
from stages.shards import ShardSet
from stages.trained import load_model

BATCH = 100
TITLES = {"cifar10": "CIFAR-10", "fashion_mnist": "Fashion-MNIST"}
PANELS = {
    "bits_per_dim": "bits per dimension",
    "corrected_bits": "bits per dimension beyond WebP's",
    "typicality": "bits per dimension from the mean",
    "norm": "standard deviations, the largest of the levels",
}
BINS = 60
SHOWN = (0.5, 99.5)  # percentiles of all images between which a histogram is drawn
FAR = 5  # ranges of the model's own images: what is farther out stands at the edge

Trained = Annotated[
    tuple[Path, Path] | None, typer.Option(help="folder of shards, folder of the trained model")
]


@torch.inference_mode()
def likeliest(glow: Glow, levels: Tensor, seed: int) -> Tensor | None:
    """The class under which each image is likeliest, (N,); None where the model has none."""
    n_classes, device = len(glow.config.classes), next(glow.parameters()).device
    if not n_classes:
        return None
    generator = torch.Generator(device).manual_seed(seed)
    found = []
    with glow.frozen():
        for some in levels.split(BATCH):
            x = dequantize(some.to(device), glow.config.n_bits, generator)
            labels = torch.zeros(len(x), dtype=torch.int64, device=device)
            top = glow(x, labels).top  # before the prior, to which alone the class matters
            of_classes = [glow.top(top, labels + label)[1] for label in range(n_classes)]
            found.append(torch.stack(of_classes).argmax(dim=0).cpu())
    return torch.cat(found)


def evidence(glow: Glow, levels: Tensor, seed: int) -> Evidence:
    """What the scores are made of."""
    return gather(glow, levels, likeliest(glow, levels, seed), batch_size=BATCH, seed=seed)


def described(model: str, images: str, found: Evidence) -> dict[str, str | int]:
    """The beginning of a row: medians of what images cost the model, and as WebP files."""
    bits = float(found.bits.median())  # some strangers cost 1e30
    costs = {
        "bits/dim": f"{bits:.2f}" if bits < 100 else f"{bits:.0e}",
        "as WebP": f"{float(found.compressed.median()):.2f}",
    }
    return {"model": model, "images": images, "n": len(found.bits), **costs}


def compare(
    model: str, glow: Glow, strangers: Strangers, seed: int
) -> tuple[report.Rows, dict[str, Scores]]:
    """A row per set, the model's own first and the worst of the others last; and all scores."""
    calibration = Calibration.of(evidence(glow, strangers.own.load("valid")[0], seed))
    own = evidence(glow, strangers.own.load("test")[0], seed)
    ordinary = calibration.scores(own)
    sets, areas = {f"{model}, test": ordinary}, []
    rows = [described(model, "its own, test", own) | dict.fromkeys(ordinary, "")]
    for name, levels in strangers:
        found = evidence(glow, levels, seed)
        sets[name] = calibration.scores(found)
        areas.append({score: auroc(ordinary[score], sets[name][score]) for score in ordinary})
        said = {score: f"{area:.3f} ± {error:.3f}" for score, (area, error) in areas[-1].items()}
        rows.append(described(model, name, found) | said)
        print(rows[-1], flush=True)
    worst = {score: f"{min(of[score][0] for of in areas):.3f}" for score in ordinary}
    rows.append(dict.fromkeys(rows[0], "") | {"model": model, "images": "the worst"} | worst)
    return rows, sets


def picture(found: Mapping[str, dict[str, Scores]]) -> Figure:
    """Histograms: a row per model, a panel per score; grey is what the model should know."""
    figure = Figure(figsize=(3.3 * len(PANELS), 3.4 * len(found)), layout="constrained")
    rows = figure.subfigures(len(found), 1, squeeze=False)[:, 0]
    for part, (model, sets) in zip(rows, found.items(), strict=True):
        part.suptitle(f"trained on {model}", fontsize=11)
        panels = part.subplots(1, len(PANELS))
        for axes, (score, unit) in zip(panels, PANELS.items(), strict=True):
            everything = np.concatenate([of[score].numpy() for of in sets.values()])
            start, end = np.percentile(everything[np.isfinite(everything)], SHOWN)
            low, high = np.percentile(next(iter(sets.values()))[score].numpy(), SHOWN)
            start, end = max(start, low - FAR * (high - low)), min(end, high + FAR * (high - low))
            if score == "norm":  # some are hundreds of times as far as others
                edges = np.geomspace(max(start, 0.1), end, BINS + 1)
                axes.set_xscale("log")
            else:
                edges = np.linspace(start, end, BINS + 1)
            for name, of in sets.items():
                own = name == next(iter(sets))
                style = {"histtype": "stepfilled", "color": "0.8"} if own else {"histtype": "step"}
                values = of[score].numpy().clip(edges[0], edges[-1])
                weights = np.full(len(values), 1 / len(values))
                axes.hist(values, edges, weights=weights, label=name, **style)
            axes.set_title(score, fontsize=10)
            axes.set_xlabel(unit, fontsize=8)
            axes.set_yticks([])
        part.legend(
            *panels[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=4,
            frameon=False,
            fontsize=8,
        )
    return figure


def command(
    cifar10: Trained = None,
    fashion_mnist: Trained = None,
    photographs: Annotated[
        Path | None, typer.Option(help="folder of photographs, to be cut into tiles")
    ] = None,
    n: Annotated[int, typer.Option(help="images per other set, at most", min=2)] = 2000,
    seed: Annotated[int, typer.Option(help="of noise and of what is drawn")] = 0,
    out: Annotated[Path, typer.Option(help="JSON to write; Markdown and PNG beside it")] = Path(
        "benchmarks/results/known_failure.json"
    ),
) -> None:
    """Score images of other data sets with models of CIFAR-10 and of Fashion-MNIST."""
    all_of = {"cifar10": cifar10, "fashion_mnist": fashion_mnist}
    given = {name: of for name, of in all_of.items() if of is not None}
    if not given:
        raise InputError("expected --cifar10 or --fashion-mnist, came neither; give a model")
    data = {TITLES[name]: ShardSet.open(shards) for name, (shards, _) in given.items()}
    rows: report.Rows = []
    found: dict[str, dict[str, Scores]] = {}
    for (title, own), (_, folder) in zip(data.items(), given.values(), strict=True):
        others = {other: shards for other, shards in data.items() if other != title}
        strangers = Strangers(own, others, n, seed, photographs)
        some, found[title] = compare(title, load_model(folder, own), strangers, seed)
        rows += some
    options = [f"--{name.replace('_', '-')} SHARDS MODEL" for name in given]
    options += ["--photographs FOLDER"] if photographs else []
    about = report.about(
        " ".join(["python benchmarks/known_failure.py", *options, f"--n {n}"]),
        seed=seed,
        weights=", ".join(weights_hash(folder) for _, folder in given.values()),
        error="DeLong's standard error of an AUROC, over images",
    )
    report.save(out, about, rows, picture(found))


if __name__ == "__main__":
    run(lambda: typer.run(command))
