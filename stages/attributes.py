"""DVC stage `attributes`: latent vectors of attributes, faces edited with them, and how well."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from torch import Tensor

from glow import Glow, read_about
from glow.atomic import write_atomically
from glow.attributes import AttributeStatistics, Estimator
from glow.counterfactual import Counterfactual, choose_pairs, find_exclusive, with_pairs
from glow.filenames import file_names
from glow.guide import Guide, train_guide
from glow.marks import filled, is_known, shares_of
from glow.weights import save_of, weights_hash
from stages import tracking
from stages.edit_figures import save_comparison, save_curves, save_steps
from stages.edits import COLUMNS, Directions, Faces, equal_success, judge_edits
from stages.errors import run
from stages.judge import Judge, train_judge
from stages.outputs import fresh_folder, write_text
from stages.params import AttributesParams, load_params
from stages.probe import agreement, auroc
from stages.progress import progress
from stages.random_images import random_images
from stages.shards import ShardSet
from stages.trained import load_model

ESTIMATORS: tuple[Estimator, ...] = ("difference", "regression")
GUIDE_BATCH_SIZE = 64
REPORTED = "probe_|judge_|leakage_"  # columns that are metrics of the run


def gather(
    glow: Glow,
    shards: ShardSet,
    split: str,
    pairs: Tensor,
    shares: Tensor,
    how: AttributesParams,
    generator: torch.Generator,
) -> AttributeStatistics:
    """The sums over images that the estimators need, for attributes and pairs of them.

    An attribute that is unknown of an image counts as its share, (A,), of the others.
    """
    n_features = len(shards.attribute_names) + len(pairs)
    statistics = AttributeStatistics.empty(n_features, glow.config.n_dims)
    total = min(how.max_images, shards.count(split))
    with progress(f"attributes, {split}", total, "images") as advance:
        for levels, present in shards.batches(split, how.batch_size, how.max_images):
            faces = Faces.encode(glow, levels, present, shards.attribute_names, generator)
            known = with_pairs(is_known(present), pairs)
            features = with_pairs(filled(present, shares), pairs)
            statistics.add(faces.latents.flatten(), features, known)
            advance(len(levels))
    return statistics


def guide_of(
    shards: ShardSet, glow: Glow, starts: Tensor, how: AttributesParams, seed: int
) -> Guide:
    """A guide trained on the training split; the judge has other weights, images and noise."""
    steps, own_seed = how.guide_steps, seed + 1
    with progress("guide", steps, "steps") as advance:

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for batch in random_images(shards, steps, GUIDE_BATCH_SIZE, own_seed):
                yield batch
                advance()

        return train_guide(
            batches(),
            shards.attribute_names,
            starts,
            image_size=shards.image_size,
            channels=glow.config.channels,
            n_bits=shards.n_bits,
            steps=steps,
            seed=own_seed,
            device=next(glow.parameters()).device,
        )


def table(
    glow: Glow,
    judge: Judge,
    shards: ShardSet,
    statistics: AttributeStatistics,
    vectors: Tensor,
    how: AttributesParams,
    generator: torch.Generator,
) -> pd.DataFrame:
    """A row per attribute; the linear probe and the judge are measured on validation images."""
    weights, thresholds = statistics.probe()
    scores, seen, has = [], [], []
    for levels, present in shards.batches("valid", how.batch_size, how.max_images):
        faces = Faces.encode(glow, levels, present, shards.attribute_names, generator)
        scores.append(faces.latents.flatten().double().cpu() @ weights.T)
        seen.append(judge.sees(levels))
        has.append(present)
    score, present = torch.cat(scores), torch.cat(has)
    train = shards.attributes("train", how.max_images)
    share = shares_of(present)
    return pd.DataFrame(
        {
            "attribute": shards.attribute_names,
            "positives": (train == 1).sum(dim=0),
            "negatives": (train == 0).sum(dim=0),
            "norm": vectors.norm(dim=1),
            "probe_accuracy": agreement(score > thresholds, present),
            "majority_share": torch.maximum(share, 1 - share),
            "probe_auroc": auroc(score, present),
            "judge_accuracy": agreement(torch.cat(seen), present),
        }
    )


def faces_without(
    glow: Glow,
    shards: ShardSet,
    attribute: int,
    how: AttributesParams,
    generator: torch.Generator,
) -> list[Faces]:
    """Batches of the first test images known to lack an attribute, judged_faces at most."""
    chosen: list[Faces] = []
    wanted = how.judged_faces
    for levels, present in shards.batches("test", how.batch_size):
        rows = (present[:, attribute] == 0).nonzero()[:wanted, 0]
        wanted -= len(rows)
        if len(rows):
            names = shards.attribute_names
            chosen.append(Faces.encode(glow, levels[rows], present[rows], names, generator))
        if not wanted:
            break
    return chosen


def judge_all(
    folder: Path,
    glow: Glow,
    judge: Judge,
    shards: ShardSet,
    directions: Directions,
    how: AttributesParams,
    generator: torch.Generator,
) -> pd.DataFrame:
    """A row per attribute, estimator and alpha; and figures, into the folder."""
    frames = []
    names = shards.attribute_names
    file_of = file_names(names)
    with progress("edits", len(names), "attributes") as advance:
        for attribute, name in enumerate(names):
            faces = faces_without(glow, shards, attribute, how, generator)
            if faces:
                alphas = how.judged_alphas, how.guided_alphas
                rows = judge_edits(glow, judge, faces, attribute, directions, *alphas)
                frames.append(pd.DataFrame(rows).assign(attribute=name))
                shown = faces[0].first(how.n_faces)
                moves = directions.of(glow, shown, attribute)
                steps = folder / f"{file_of[name]}.png"
                save_steps(steps, glow, shown, moves[how.estimator], how.alphas)
                compared = folder / f"{file_of[name]}-estimators.png"
                save_comparison(compared, glow, shown, moves, frames[-1])
            advance()
    edits = pd.concat(frames) if frames else pd.DataFrame(columns=COLUMNS)
    edits = edits[list(COLUMNS)]
    if frames:
        save_curves(folder / "success-leakage.png", edits)
    write_text(folder / "edits.csv", edits.to_csv(index=False, float_format="%.4f"))
    return edits


def command(
    shards: Annotated[Path, typer.Argument(help="folder of shards")],
    model: Annotated[Path, typer.Argument(help="folder of the trained model")],
    vectors_file: Annotated[Path, typer.Argument(help="safetensors file to write")],
    csv: Annotated[Path, typer.Argument(help="CSV file to write, a row per attribute")],
    edits_folder: Annotated[Path, typer.Argument(help="folder to write: edits.csv and PNGs")],
    counterfactual_file: Annotated[Path, typer.Argument(help="safetensors file to write")],
    guide_file: Annotated[Path, typer.Argument(help="safetensors file to write")],
) -> None:
    """Find latent vectors of attributes, edit faces with them, and have the edits judged.

    Example: python -m stages.attributes data/shards models/glow models/attributes.safetensors
    results/attributes.csv results/attributes models/counterfactual.safetensors
    models/guide.safetensors
    """
    params = load_params()
    how = params.attributes
    data = ShardSet.open(shards)
    glow, weights = load_model(model, data), weights_hash(model)
    device = next(glow.parameters()).device
    generator = torch.Generator(device).manual_seed(params.seed)
    present = data.attributes("train", how.max_images)
    pairs, shares = choose_pairs(present), shares_of(present)
    train, valid = (
        gather(glow, data, of, pairs, shares, how, generator) for of in ("train", "valid")
    )
    statistics = train.of_first(len(data.attribute_names))
    found: dict[str, Tensor] = {name: statistics.vectors(name) for name in ESTIMATORS}
    vectors = found[how.estimator]
    by_name = dict(zip(data.attribute_names, vectors.float(), strict=True))
    vectors_file.parent.mkdir(parents=True, exist_ok=True)
    rows = {name: row.clone() for name, row in by_name.items()}
    write_atomically(vectors_file, save_of(weights, rows))
    exclusive = find_exclusive(present)
    fitted = Counterfactual.fit(train, valid, pairs, exclusive, data.attribute_names)
    counterfactual = fitted.rounded()
    counterfactual_file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(counterfactual_file, counterfactual.to_bytes(weights=weights))
    guide = guide_of(data, glow, found["difference"], how, params.seed)
    guide_file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(guide_file, guide.to_bytes(weights=weights))
    directions = Directions(found, counterfactual, guide)
    judge = train_judge(data, how.judge_steps, params.seed, device)
    frame = table(glow, judge, data, statistics, vectors, how, generator)
    with fresh_folder(edits_folder) as folder:
        edits = judge_all(folder, glow, judge, data, directions, how, generator)
    frame = frame.join(equal_success(edits), on="attribute")
    write_text(csv, frame.to_csv(index=False, float_format="%.4f"))
    with tracking.same_run(read_about(model)["fingerprint"], weights=weights) as tracked:
        by_attribute = frame.set_index("attribute")
        for column in by_attribute.columns[by_attribute.columns.str.contains(REPORTED)]:
            numbers = by_attribute[column].dropna()
            tracked.metrics({f"{column}.{name}": value for name, value in numbers.items()})
        tracked.artifact(csv)
        tracked.artifact(edits_folder / "edits.csv", "attributes")
        tracked.artifact(vectors_file)
        tracked.artifact(counterfactual_file)
        tracked.artifact(guide_file)
        tracked.attribute_vectors(vectors_file)
        for file in sorted(edits_folder.glob("*.png")):
            tracked.image(file, key=f"edit_{file.stem}")


if __name__ == "__main__":
    run(lambda: typer.run(command))
