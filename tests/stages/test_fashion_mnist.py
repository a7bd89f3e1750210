"""Fashion-MNIST where Debian's package puts it: real official data, trained on by the preset."""

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML
from tiny import ROOT
from training import Training

from stages.outputs import write_json
from stages.params import Params, load_params
from stages.preprocess import preprocess
from stages.shards import MANIFEST, ShardSet
from stages.sources.arrays import ArraySource
from stages.sources.choose import make_source
from stages.sources.source import NOT_TEST, Entry

PRESET = ROOT / "pipeline" / "presets" / "fashion-mnist.yaml"
FOLDER = Path(load_params(PRESET).data.folder.path)
EVERY = 200  # so many images are one of the test's

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no {FOLDER}: apt-get install dataset-fashion-mnist"
)


def few_steps() -> Params:
    """The preset, but for its size."""
    raw = YAML(typ="safe").load(PRESET)
    raw["model"] |= {"depth": 2, "hidden_channels": 16}
    raw["train"] |= {"steps": 30, "warmup_steps": 5, "decay_steps": 10, "ema_decay": 0.9}
    raw["train"] |= {"initialize_images": 64, "valid_every": 10}
    return Params.model_validate(raw)


def test_all_of_the_official_images_are_there() -> None:
    source = make_source(load_params(PRESET).data, seed=0)
    entries = source.entries()
    assert Counter(entry.split for entry in entries) == {NOT_TEST: 60_000, "test": 10_000}
    assert set(Counter(entry.label for entry in entries).values()) == {7_000}
    boot = source.read(entries[0]).pixels
    assert source.classes[entries[0].label or 0] == "Ankle_boot"
    assert (boot.shape, boot.max()) == ((32, 32, 3), 255)
    assert not boot[:2].any()


def test_the_preset_learns_from_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ArraySource.entries

    def some(source: ArraySource) -> list[Entry]:
        return whole(source)[::EVERY]

    monkeypatch.setattr(ArraySource, "entries", some)
    params, shards = few_steps(), tmp_path / "shards"
    write_json(shards / MANIFEST, preprocess(params.data, params.seed, shards))
    made = ShardSet.open(shards)
    assert made.count("train") + made.count("valid") == 300
    assert made.count("test") == 50

    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / "params.yaml").open("w") as stream:
        YAML().dump(params.model_dump(), stream)
    training = Training(tmp_path / "run", shards)
    training.finish()
    report = json.loads(training.contents()["results/train.json"])
    curve = pd.read_csv(training.folder / "results" / "curves.csv")["valid_bits_per_dim"]
    assert report["valid_bits_per_dim"] == pytest.approx(curve.iloc[-1], abs=1e-5)
    assert curve.is_monotonic_decreasing
    assert curve.iloc[-1] < params.data.n_bits - 1
