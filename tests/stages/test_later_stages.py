"""What later stages could not do is refused by the first, and what they can do is done by all."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from formats import picture, save
from ruamel.yaml import YAML
from tiny import tiny

from glow import Glow, GlowConfig
from stages import preprocess, samples, train
from stages.errors import InputError
from stages.shards import ShardSet

SMALL = {"data.source": "folder", "data.image_size": 8, "train.batch_size": 4}


def project(folder: Path, images: dict[str, int], table: str = "", **changes: object) -> Path:
    """A folder with params.yaml, of so many images in each folder."""
    for name, count in images.items():
        for number in range(count):
            unlike = picture(len(name) * 1000 + number)
            save(folder / "raw" / name / f"{name.replace('/', '-')}-{number}.png", unlike)
    if table:
        save(folder / "raw" / "t.csv", table)
        changes["data.folder.attributes"] = "t.csv"
    params = tiny(**{**SMALL, "data.folder.path": str(folder / "raw"), **changes})
    with (folder / "params.yaml").open("w") as stream:
        YAML().dump(params.model_dump(), stream)
    return folder


TABLE = "name,Hat,Tie\n" + "".join(
    f"{split}-{number}.png,1,{tie}\n"
    for split, count in (("train", 6), ("valid", 1), ("test", 1))
    for number, tie in zip(range(count), ("", 1, 0, 1, 0, 1), strict=False)
)


@pytest.mark.parametrize(
    ("images", "table", "changes", "line"),
    [
        ({"train": 6, "valid": 3}, "", {}, "no image fell to the split valid of 9 images"),
        ({"train": 3, "valid": 3, "test": 1}, "", {}, "3 images, fewer than train.batch_size = 4"),
        (
            {"train": 6, "valid": 1, "test": 1},
            TABLE,
            {"model.conditional": "Cap"},
            "names Cap, expected attributes of the data set; there are: Hat, Tie",
        ),
        (
            {"train": 6, "valid": 1, "test": 1},
            TABLE,
            {"model.conditional": "Tie"},
            "Tie is not known of 1 of 6 images, expected it of all",
        ),
        (
            {"train": 6, "valid": 1, "test": 1},
            TABLE,
            {"model.conditional": "Hat"},
            "no training image is of the class not Hat, expected some of every class",
        ),
        (
            {"train/a": 6, "valid/a": 1, "test/a": 1, "test/b": 1},
            "",
            {"model.conditional": ["a", "b"]},
            "no training image is of the class b",
        ),
        (
            {"train/a": 3, "train/b": 3, "valid/a": 1, "test/c": 1},
            "",
            {"model.conditional": ["a", "b"]},
            "1 of 1 images have none or several of a, b",
        ),
    ],
)
def test_what_a_later_stage_cannot_do_is_refused_before_an_image_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: dict[str, int],
    table: str,
    changes: dict[str, object],
    line: str,
) -> None:
    monkeypatch.chdir(project(tmp_path, images, table, **changes))
    with pytest.raises(InputError, match=line) as error:
        preprocess.command(tmp_path / "shards")
    assert "\n" not in str(error.value)
    assert not (tmp_path / ".cache").exists()


def test_what_later_stages_can_do_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = {"train/a": 3, "train/b": 3, "valid/a": 1, "test/b": 1}
    monkeypatch.chdir(project(tmp_path, images, **{"model.conditional": ["a", "b"]}))
    preprocess.command(tmp_path / "shards")
    assert ShardSet.open(tmp_path / "shards").classes == ["a", "b"]


def test_what_is_unknown_of_a_test_image_is_no_class_to_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TABLE.replace("test-0.png,1,", "test-0.png,,").replace(
        "train-3.png,1", "train-3.png,0"
    )
    monkeypatch.chdir(project(tmp_path, {"train": 6, "valid": 1, "test": 1}, table))
    preprocess.command(tmp_path / "shards")
    file = tmp_path / "params.yaml"
    file.write_text(file.read_text().replace("conditional:", "conditional: Hat"))
    with pytest.raises(InputError, match="Hat is not known of 1 of 1 images"):
        train.command(
            *(tmp_path / name for name in ("shards", "glow", "train.json", "curves.csv"))
        )


@pytest.mark.parametrize("n_test", [1, 2, 3])
def test_few_test_images_are_interpolated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_test: int
) -> None:
    monkeypatch.chdir(project(tmp_path, {"train": 6, "valid": 2, "test": n_test}))
    preprocess.command(tmp_path / "shards")
    shards = ShardSet.open(tmp_path / "shards")
    rows: list[Any] = []
    monkeypatch.setattr(samples, "save_grid", lambda _, images: rows.extend(images))
    glow = Glow(GlowConfig(image_size=8, n_bits=5, n_levels=2, depth=1, hidden_channels=4))
    glow.initialize(torch.rand(4, 3, 8, 8) - 0.5)
    samples.draw_interpolations(tmp_path / "grid.png", glow, shards, tiny().samples, 0)
    assert Counter(len(row) for row in rows) == {tiny().samples.interpolation_steps: 1}
