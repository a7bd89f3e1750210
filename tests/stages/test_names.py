"""Attributes and classes of any name, through the stages: a name is text, whatever is in it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML
from tiny import ROOT, SMALL, tiny
from tracked import FINGERPRINT, Client, runs

from glow import load_glow, save_glow
from stages import tracking
from stages.outputs import write_json
from stages.preprocess import preprocess
from stages.shards import MANIFEST, ShardSet

NAMES = [
    "../../escaped",
    "age<40",
    "age>40",
    "年齢",
    "Smiling",
    "smiling",
    "Smiling-estimators",
    "Ba$$in",
    "$$",
]
FEW = {"judge_steps": 1, "guide_steps": 1, "judged_faces": 1, "n_faces": 1}
FEW |= {"judged_alphas": [1.0], "guided_alphas": [1.0], "alphas": [1.0]}


@pytest.fixture(scope="session")
def named(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """Shards of images whose attributes have all kinds of names, one of them a path elsewhere."""
    folder = tmp_path_factory.mktemp("named")
    names = [str(folder / "elsewhere"), *NAMES]
    (folder / "elsewhere").mkdir()
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    rows = {}
    for number in range(60):
        pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        rows[f"{number}.png"] = generator.integers(0, 2, len(names))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=names)
    table.to_csv(folder / "images" / "table.csv", index_label="file")
    source = {"data.source": "folder", "data.folder.path": str(folder / "images")}
    params = tiny(**SMALL, **source, **{"data.folder.attributes": "table.csv"})
    shards = folder / "shards"
    write_json(shards / MANIFEST, preprocess(params.data, params.seed, shards))
    return ShardSet.open(shards)


def stage(at: Path, shards: ShardSet, model: Path) -> Path:
    """Runs the stage `attributes` in a folder; where its pictures are."""
    save_glow(load_glow(model), model, about={"fingerprint": FINGERPRINT})
    with (at / "params.yaml").open("w") as file:
        changes = {f"attributes.{key}": value for key, value in FEW.items()}
        YAML().dump(tiny(**SMALL, **changes).model_dump(), file)
    outs = ["vectors.safetensors", "table.csv", "results/attributes"]
    outs += ["counterfactual.safetensors", "guide.safetensors"]
    subprocess.run(
        [sys.executable, "-m", "stages.attributes", str(shards.folder), str(model), *outs],
        cwd=at,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RANK": "1", "DVC_ROOT": str(at)},
        check=True,
    )
    return at / "results/attributes"


def test_names_of_attributes_are_no_paths_and_none_shares_a_file(
    tmp_path: Path, named: ShardSet, model: Path
) -> None:
    inner = tmp_path / "in"
    inner.mkdir()
    elsewhere = named.folder.parent / "elsewhere"
    pictures = stage(inner, named, model)
    assert list(elsewhere.iterdir()) == []
    assert {file.name for file in tmp_path.iterdir()} == {"in", "models"}
    assert not {file.name for file in (inner / "results").iterdir()} - {"attributes"}

    n_judged = pd.read_csv(pictures / "edits.csv")["attribute"].nunique()
    files = {file.name for file in pictures.iterdir()}
    assert n_judged == len(NAMES) + 1
    assert len({name.casefold() for name in files}) == 2 * n_judged + 2
    assert not any("/" in name or name.startswith((".", "-")) for name in files)


def test_every_name_has_a_number_of_its_own_in_mlflow(client: Client, picture: Path) -> None:
    names = [
        *NAMES,
        "возраст",
        "=1+1",
        "<b>",
        "x" * 300,
        "x" * 301,
        "..",
        "Smiling/",
        "Smiling/./",
        "a//b",
        "",
    ]
    with tracking.training_run(FINGERPRINT, {name: name for name in names}) as run:
        run.metrics({name: float(number) for number, name in enumerate(names)})
        run.metrics({f"probe_auroc.{name}": float(number) for number, name in enumerate(names)})
        run.tags({f"note {name}": name for name in names})
        for name in names:
            run.image(picture, f"edit_{name}")
    (found,) = runs(client)
    assert found.info.status == "FINISHED"
    values = sorted(found.data.metrics.values())
    assert values == sorted(2 * [float(number) for number in range(len(names))])
    assert found.data.metrics["Smiling"] == NAMES.index("Smiling")
    assert found.data.metrics["probe_auroc.Smiling"] == NAMES.index("Smiling")
    assert sorted(found.data.params.values()) == sorted(names)
    tags = [value for key, value in found.data.tags.items() if key.startswith("note")]
    assert sorted(tags) == sorted(names)
    images = client.list_artifacts(found.info.run_id, "images")
    assert len(images) == 2 * len(names)
