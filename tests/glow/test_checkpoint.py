"""A model on disk: it comes back the same, and a damaged one says so."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from glow import Glow, GlowConfig, load_glow, read_about, save_glow
from glow.atomic import write_atomically
from glow.checkpoint import CONFIG, WEIGHTS
from glow.state import save_state

CONFIGS = [
    GlowConfig(image_size=4, n_levels=1, depth=1, hidden_channels=4),
    GlowConfig(
        image_size=8,
        channels=1,
        n_bits=5,
        n_levels=2,
        depth=2,
        hidden_channels=4,
        coupling="additive",
        permutation="shuffle",
        learn_top=False,
        backprop="reversible",
    ),
]


def new_glow(config: GlowConfig = CONFIGS[0], seed: int = 0) -> Glow:
    torch.manual_seed(seed)
    glow = Glow(config)
    with torch.no_grad():
        for parameter in glow.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return glow


@pytest.mark.parametrize("config", CONFIGS, ids=["plain", "every-setting-changed"])
def test_round_trip_gives_the_same_model(config: GlowConfig, tmp_path: Path) -> None:
    glow = new_glow(config)
    x = torch.rand(3, config.channels, config.image_size, config.image_size) - 0.5
    glow.initialize(x)
    save_glow(glow, tmp_path / "deep" / "folder")
    loaded = load_glow(tmp_path / "deep" / "folder")
    assert loaded.config == config
    assert loaded.initialized
    assert not loaded.training
    assert torch.equal(loaded.log_prob(x), glow.eval().log_prob(x))
    assert not torch.equal(new_glow(config, seed=1).log_prob(x), loaded.log_prob(x))


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    glow = new_glow()
    save_glow(glow, tmp_path / "a", about={"fingerprint": "f"})
    save_glow(load_glow(tmp_path / "a"), tmp_path / "b", about={"fingerprint": "f"})
    for name in (WEIGHTS, CONFIG):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_saving_replaces_what_was_there_and_leaves_nothing_else(tmp_path: Path) -> None:
    save_glow(new_glow(seed=0), tmp_path, about={"fingerprint": "old"})
    glow = new_glow(seed=1)
    save_glow(glow, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [CONFIG, WEIGHTS]
    assert read_about(tmp_path) == {}
    weights = load_glow(tmp_path).state_dict()
    for name, tensor in glow.state_dict().items():
        assert torch.equal(weights[name], tensor), name


def test_about_comes_back(tmp_path: Path) -> None:
    about = {"fingerprint": "f", "data": {"name": "Bäume", "n": 3}}
    save_glow(new_glow(), tmp_path, about=about)
    assert read_about(tmp_path) == about


def test_weights_are_safetensors_all_the_way_and_no_pickle(tmp_path: Path) -> None:
    glow = new_glow()
    save_glow(glow, tmp_path)
    content = (tmp_path / WEIGHTS).read_bytes()
    header_size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_size])
    sizes = sum(tensor.numel() * tensor.element_size() for tensor in glow.state_dict().values())
    assert len(content) == 8 + header_size + sizes  # there is no room for anything else
    assert set(header) - {"__metadata__"} == set(glow.state_dict())
    with safe_open(tmp_path / WEIGHTS, "pt") as file:
        assert set(file.keys()) == set(glow.state_dict())


def remove(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def write(file: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_text(content) and None


def truncate(size: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(content[: int(size * len(content))])

    return damage


def change(**settings: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        described = json.loads((folder / CONFIG).read_text())
        described["config"].update(settings)
        (folder / CONFIG).write_text(json.dumps(described))

    return damage


DAMAGES = {
    "no-weights": (remove(WEIGHTS), f"has no {WEIGHTS}"),
    "no-config": (remove(CONFIG), f"has no {CONFIG}"),
    "empty-weights": (truncate(0), "does not hold a Glow"),
    "half-the-weights": (truncate(0.5), "does not hold a Glow"),
    "most-of-the-weights": (truncate(0.999), "does not hold a Glow"),
    "half-a-config": (write(CONFIG, '{"config": {'), "is not JSON"),
    "empty-config": (write(CONFIG, ""), "is not JSON"),
    "object-of-others": (write(CONFIG, '{"config": {}}'), "lacks 'config' or 'about'"),
    "no-setting": (write(CONFIG, '{"config": {}, "about": {}}'), "image_size"),
    "settings-in-a-list": (write(CONFIG, '{"config": [], "about": {}}'), "does not hold a Glow"),
    "unknown-setting": (change(colour="red"), "does not hold a Glow.*colour"),
    "impossible-setting": (change(n_levels=3), "image_size is 4, expected a multiple of 8"),
    "setting-of-a-wrong-type": (change(depth="two"), "does not hold a Glow"),
    "other-width": (change(hidden_channels=5), "does not hold a Glow"),
    "other-depth": (change(depth=2), "does not hold a Glow"),
}
CASES = [pytest.param(*damage, id=name) for name, damage in DAMAGES.items()] + [
    pytest.param(write(CONFIG, text), CONFIG, id=f"config-is-{name}")
    for name, text in {"a-list": "[]", "null": "null", "a-number": "3"}.items()
]


@pytest.mark.parametrize(("damage", "message"), CASES)
def test_a_damaged_model_is_a_value_error_that_says_why(
    damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    save_glow(new_glow(), tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_glow(tmp_path)


def test_a_new_folder_s_name_is_as_safe_as_what_is_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", watched)
    save_state(tmp_path / "a" / "b" / "state", {"x": torch.zeros(1)}, {})
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= set(synced)


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    write_atomically(file, b"old")

    def full_disk(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("glow.atomic.os.fsync", full_disk)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
