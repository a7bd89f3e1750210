"""What is said about edits is what the judge said, and the stage says it twice alike."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import load_file
from tiny import ROOT, SMALL, tiny
from torch import Tensor

from glow import Glow, GlowConfig, load_glow, save_glow, to_pixels
from glow.counterfactual import Counterfactual
from glow.guide import Guide
from glow.marks import UNKNOWN
from glow.weights import says_weights, weights_hash
from stages.edits import Directions, Faces, at_success, equal_success, judge_edits
from stages.judge import Judge, train_judge
from stages.outputs import write_json
from stages.preprocess import preprocess
from stages.probe import agreement, auroc
from stages.shards import ShardSet

FEW = {"judge_steps": 5, "guide_steps": 5, "judged_faces": 4, "n_faces": 2}


class Bright(Judge):
    """Sees attribute 0 in images that are bright on the left, 1 on the right, 2 in none."""

    def __init__(self) -> None:
        super().__init__(3, 8, 5)

    def sees(self, levels: Tensor) -> Tensor:
        """(B, 3), bool."""
        halves = levels.float().mean(dim=1).unflatten(2, (2, 4)).mean(dim=(1, 3))
        return torch.cat([halves > 15.5, torch.zeros(len(levels), 1)], dim=1).bool()


@pytest.fixture
def identity() -> Glow:
    """A model whose latents are the pixels, squeezed."""
    config = GlowConfig(
        image_size=8, n_bits=5, n_levels=1, depth=1, hidden_channels=4, permutation="reverse"
    )
    glow = Glow(config)
    glow.initialize(torch.rand(4, 3, 8, 8) - 0.5)
    return glow


def rows(glow: Glow, exclusive: Tensor) -> pd.DataFrame:
    """Dark images are lit on the left by the difference, everywhere by the regression."""
    x = torch.full((4, 3, 8, 8), 1 / 64 - 0.25)  # the middle of a bin
    left, both = x.clone(), x + 0.5
    left[..., :4] += 0.5
    with torch.inference_mode():
        base = glow.encode(x).flatten()
        moves = [(glow.encode(image).flatten() - base)[0] for image in (left, both)]
        vectors = {"difference": moves[0].expand(3, -1), "regression": moves[1].expand(3, -1)}
        effects = torch.zeros(3, base.shape[1]).double()
        own = Counterfactual(effects, torch.zeros(3), torch.zeros(0, 2).long(), exclusive, ())
        faces = Faces(x, torch.zeros(4, 3).bool(), None, glow.encode(x))
    directions = Directions(vectors, own)
    return pd.DataFrame(judge_edits(glow, Bright(), [faces, faces], 0, directions, [0.25, 1.0]))


def test_success_leakage_and_distance_are_those_of_the_edits(identity: Glow) -> None:
    found = rows(identity, torch.zeros(3, 3).bool()).set_index(["estimator", "alpha"])
    assert (found["n"] == 8).all()
    assert found["success"].tolist() == [0, 1, 0, 1, 0, 0]
    assert found["leakage"].tolist() == [0, 0, 0, 0.5, 0, 0]
    everywhere = found.loc[("regression", 1.0), "rms_pixels"]
    assert everywhere == pytest.approx(127.5, abs=5)
    half = found.loc[("difference", 1.0), "rms_pixels"]
    assert half == pytest.approx(everywhere / math.sqrt(2), rel=1e-3)
    assert (found.loc["counterfactual", ["rms_pixels", "rms_latents"]] == 0).all(axis=None)


def test_what_excludes_the_attribute_is_no_leakage(identity: Glow) -> None:
    exclusive = torch.zeros(3, 3).bool()
    exclusive[0, 1] = exclusive[1, 0] = True
    assert (rows(identity, exclusive)["leakage"] == 0).all()


def test_equal_success_is_interpolated_from_no_edit_on() -> None:
    found = pd.DataFrame(
        {"alpha": [1.0, 2.0], "success": [0.4, 0.9], "leakage": [0.1, 0.3], "estimator": "a"}
    ).assign(attribute="Hat")
    assert at_success(found, 0.2) == pytest.approx((0.5, 0.05))
    assert at_success(found, 0.8) == pytest.approx((1.8, 0.26))
    assert math.isnan(at_success(found, 0.95)[1])
    assert equal_success(found).loc["Hat", "leakage_80_a"] == pytest.approx(0.26)


def test_auroc_counts_ties_half() -> None:
    scores = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
    has = torch.tensor([[False, False, True], [True, True, True], [True, False, True]])
    found = auroc(scores, has)
    assert found[:2].tolist() == [1.0, 0.5]
    assert math.isnan(found[2])


def test_images_of_which_it_is_unknown_measure_nothing() -> None:
    scores = torch.tensor([[0.0], [9.0], [1.0], [-9.0]])
    marks = torch.tensor([[0], [UNKNOWN], [1], [UNKNOWN]], dtype=torch.int8)
    assert auroc(scores, marks).tolist() == [1.0]
    assert agreement(scores > 0.5, marks).tolist() == [1.0]
    assert math.isnan(agreement(scores > 0.5, torch.full_like(marks, UNKNOWN)))


def test_a_judge_learns_and_is_the_same_for_a_seed(shards: ShardSet) -> None:
    levels, present = shards.load("train")
    first, again = (train_judge(shards, 60, 0, torch.device("cpu")) for _ in range(2))
    assert torch.equal(first(levels), again(levels))
    majority = torch.maximum(present.double().mean(dim=0), 1 - present.double().mean(dim=0))
    right = (first.sees(levels) == present).double().mean()
    assert right > majority.mean() + 0.1


def test_a_judge_and_a_guide_see_images_of_every_size_that_a_model_has() -> None:
    with torch.device("meta"):  # shapes without numbers
        for side in range(4, 1025, 2):
            levels = torch.zeros(1, 3, side, side)
            assert Judge(3, side, 5)(levels).shape == (1, 3)
            guide = Guide("abc", torch.zeros(3, 1), image_size=side, channels=3)
            assert guide(levels).shape == (2, 1, 3)


def test_shards_come_in_batches_as_they_load(shards: ShardSet) -> None:
    levels, present = shards.load("train", 50)
    parts = list(shards.batches("train", 7, 50))
    assert max(len(part) for part, _ in parts) == 7
    assert torch.equal(torch.cat([part for part, _ in parts]), levels)
    assert torch.equal(torch.cat([part for _, part in parts]), present)


@pytest.fixture
def without_attributes(tmp_path: Path, shards: ShardSet) -> Path:
    """The same shards, of images with no attributes."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for split in ("train", "valid", "test"):
        (folder / split).symlink_to(shards.folder / split)
    (folder / "dataset.json").write_text(json.dumps({**shards.manifest, "attributes": {}}))
    return folder


@pytest.fixture
def trained(model: Path) -> Path:
    """A model with the fingerprint that every training leaves."""
    save_glow(load_glow(model), model, about={"fingerprint": "f" * 16})
    return model


def stage(at: Path, data: Path, model: Path, out: Path) -> dict[str, bytes]:
    """The outputs of the stage, by name."""
    at.mkdir(exist_ok=True)
    changes = {f"attributes.{key}": value for key, value in FEW.items()}
    with (at / "params.yaml").open("w") as file:
        YAML().dump(tiny(**SMALL, **changes).model_dump(), file)
    outs = [str(out / name) for name in ("vectors.safetensors", "table.csv", "figures")]
    outs += [str(out / "own.safetensors"), str(out / "guide.safetensors")]
    subprocess.run(
        [sys.executable, "-m", "stages.attributes", str(data), str(model), *outs],
        cwd=at,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RANK": "1", "DVC_ROOT": str(at)},
        check=True,
    )
    files = (file for file in out.rglob("*") if file.is_file())
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files}


def test_the_stage_writes_the_same_twice(tmp_path: Path, shards: ShardSet, trained: Path) -> None:
    first, again = (stage(tmp_path, shards.folder, trained, tmp_path / name) for name in "ab")
    assert first == again
    names = shards.attribute_names
    assert {"figures/success-leakage.png", f"figures/{names[0]}-estimators.png"} <= first.keys()
    for name in ("vectors", "own", "guide"):
        assert says_weights(tmp_path / f"a/{name}.safetensors", weights_hash(trained))
    table = pd.read_csv(tmp_path / "a/table.csv")
    assert table["attribute"].tolist() == names
    assert table["probe_auroc"].between(0, 1).all()
    edits = pd.read_csv(tmp_path / "a/figures/edits.csv")
    assert len(edits) == len(names) * 4 * 3
    assert edits[["success", "leakage"]].stack().between(0, 1).all()
    guided = edits[edits["estimator"] == "guided"]
    assert sorted(guided["alpha"].unique()) == tiny().attributes.guided_alphas
    assert Guide.load(tmp_path / "a/guide.safetensors").names == tuple(names)


def test_images_without_attributes_have_tables_without_rows(
    tmp_path: Path, without_attributes: Path, trained: Path
) -> None:
    found = stage(tmp_path, without_attributes, trained, tmp_path / "out")
    assert found.keys() == {
        "vectors.safetensors",
        "own.safetensors",
        "guide.safetensors",
        "table.csv",
        "figures/edits.csv",
    }
    assert len(pd.read_csv(tmp_path / "out/figures/edits.csv")) == 0


@pytest.fixture
def partly_known(tmp_path: Path, shards: ShardSet) -> Path:
    """The same images, of a third of which it is unknown whether they smile."""
    folder = tmp_path / "images"
    rows = ["name,Smiling,Beard"]
    for split in ("train", "valid", "test"):
        for number, sample in enumerate(shards.samples(split)):
            name = f"{split}-{number:03d}.png"
            pixels = to_pixels(sample.levels, shards.n_bits).permute(1, 2, 0).numpy()
            (folder / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / split / name)
            smiling = sample.attributes["Smiling"] if number % 3 else ""
            rows.append(f"{name},{smiling},{sample.attributes['Beard']}")
    (folder / "t.csv").write_text("\n".join(rows))
    changes = {"data.source": "folder", "data.folder.path": str(folder)}
    params = tiny(**SMALL | changes, **{"data.folder.attributes": "t.csv"})
    content = preprocess(params.data, 0, tmp_path / "data")
    write_json(tmp_path / "data" / "dataset.json", content)
    return tmp_path / "data"


def test_what_is_known_of_some_images_is_learnt_from_these(
    tmp_path: Path, partly_known: Path, trained: Path
) -> None:
    data = ShardSet.open(partly_known)
    smiling, beard = torch.cat([data.attributes(split) for split in data.manifest["splits"]]).T
    assert sorted(smiling.unique().tolist()) == [UNKNOWN, 0, 1]
    assert sorted(beard.unique().tolist()) == [0, 1]
    share = (smiling == 1).sum() / (smiling != UNKNOWN).sum()
    assert data.manifest["attributes"]["Smiling"] == pytest.approx(share.item())
    unknown = sum(of["unknown"]["Smiling"] for of in data.manifest["splits"].values())
    assert unknown == (smiling == UNKNOWN).sum()
    for sample in data.samples("train"):
        assert {"Beard"} <= sample.attributes.keys() <= {"Smiling", "Beard"}
    found = stage(tmp_path / "at", partly_known, trained, tmp_path / "out")
    assert "figures/Smiling.png" in found
    table = pd.read_csv(tmp_path / "out/table.csv").set_index("attribute")
    of = data.attributes("train")[:, 0]
    assert table.loc["Smiling", "positives"] == (of == 1).sum()
    assert table.loc["Smiling", "negatives"] == (of == 0).sum()
    assert table["probe_auroc"].between(0, 1).all()
    assert len(load_file(tmp_path / "out/vectors.safetensors")) == 2


def test_a_model_with_classes_edits_within_them(tmp_path: Path, shards: ShardSet) -> None:
    config = GlowConfig(
        image_size=8,
        n_bits=5,
        n_levels=2,
        depth=1,
        hidden_channels=4,
        classes=("not Smiling", "Smiling"),
    )
    glow = Glow(config)
    glow.initialize(torch.rand(4, 3, 8, 8) - 0.5)
    levels, present = shards.load("test", 6)
    generator = torch.Generator().manual_seed(0)
    faces = Faces.encode(glow, levels, present, shards.attribute_names, generator)
    x, latents = faces.first(4).edited(glow, torch.zeros(config.n_dims), 1.0)
    assert torch.allclose(x, faces.x[:4], atol=1e-5)
    assert torch.equal(latents.flatten(), faces.latents.flatten()[:4])
