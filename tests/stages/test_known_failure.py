"""The benchmark `known_failure`: an area with its error, and strangers of the model's kind."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tiny import ROOT, SMALL, tiny

from glow import Glow, GlowConfig, save_glow
from stages.errors import InputError
from stages.outputs import write_json
from stages.preprocess import preprocess
from stages.shards import MANIFEST, ShardSet


@pytest.fixture
def known_failure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("known_failure")


def small(classes: tuple[str, ...] = ()) -> Glow:
    """A model of 5 bits, 8x8, whose classes differ."""
    torch.manual_seed(0)
    sizes = {"image_size": 8, "n_bits": 5, "n_levels": 2, "depth": 1, "hidden_channels": 4}
    glow = Glow(GlowConfig(**sizes, classes=classes))
    glow.initialize(torch.rand(16, 3, 8, 8) - 0.5)
    if classes:
        torch.nn.init.normal_(glow.top.class_mean)
    return glow


def test_an_area_and_its_error(known_failure: ModuleType) -> None:
    one, other = torch.tensor([0.0, 1.0, 1.0, 2.0]), torch.tensor([1.0, 3.0])
    area, error = known_failure.auroc(one, other)
    pairs = (other[:, None] > one).double() + (other[:, None] == one).double() / 2
    assert area == pytest.approx(float(pairs.mean())) == 0.75
    parts = pairs.mean(dim=0).var() / len(one), pairs.mean(dim=1).var() / len(other)
    assert error == pytest.approx(float(sum(parts)) ** 0.5)


def test_the_error_is_that_of_repeated_draws(known_failure: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [
        known_failure.auroc(
            torch.randn(60, generator=generator), torch.randn(40, generator=generator) + 1
        )
        for _ in range(300)
    ]
    areas, errors = torch.tensor(draws).T
    assert float(errors.mean()) == pytest.approx(float(areas.std()), rel=0.15)


def test_each_image_is_of_the_class_under_which_it_is_likeliest(known_failure: ModuleType) -> None:
    glow = small(("cat", "dog", "frog"))
    levels = torch.randint(32, (40, 3, 8, 8), dtype=torch.uint8)
    chosen = known_failure.likeliest(glow, levels, seed=0)
    bits = torch.stack(
        [known_failure.gather(glow, levels, torch.full((40,), c)).bits for c in range(3)]
    )
    assert len(set(chosen.tolist())) > 1
    assert (bits.argmin(dim=0) == chosen).all()
    assert known_failure.likeliest(small(), levels, seed=0) is None


def test_both_models_and_all_sets(
    known_failure: ModuleType, shards: ShardSet, tmp_path: Path
) -> None:
    save_glow(small(), tmp_path / "glow")
    of = (shards.folder, tmp_path / "glow")
    known_failure.command(of, of, n=5, out=tmp_path / "found.json")
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    for model, other in (("CIFAR-10", "Fashion-MNIST"), ("Fashion-MNIST", "CIFAR-10")):
        named = {row["images"]: row for row in rows if row["model"] == model}
        assert {"its own, test", f"{other}, test", "plain greys", "the worst"} <= set(named)
        assert "±" in named["plain greys"]["norm"]
        assert float(named["plain greys"]["as WebP"]) < float(named["avatars"]["as WebP"])
    assert (tmp_path / "found.png").stat().st_size > 10_000


def test_other_data_of_fewer_bits_is_refused(
    known_failure: ModuleType, shards: ShardSet, tmp_path: Path
) -> None:
    coarse = tmp_path / "coarse"
    params = tiny(**SMALL, **{"data.n_bits": 3})
    write_json(coarse / MANIFEST, preprocess(params.data, params.seed, coarse))
    others = {"coarse": ShardSet.open(coarse)}
    strangers = known_failure.Strangers(shards, others, 5, 0, None)
    with pytest.raises(InputError, match="images of coarse of 8x8 with 5 bits or more, came 8x8"):
        dict(strangers)
    with pytest.raises(InputError, match="came neither; give a model"):
        known_failure.command()
