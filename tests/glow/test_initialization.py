"""The data-dependent first pass: every ActNorm, once, also after saving and on several ranks."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file
from small import assert_close, config_of, images, new_glow, over_combinations
from torch import Tensor

from glow import Glow, load_glow, save_glow
from glow.conditioner import Conditioner
from glow.step import FlowStep

pytestmark = pytest.mark.proof


def activations_after_actnorms(step: FlowStep, x: Tensor) -> list[Tensor]:
    """Of the step and of its conditioner, each computed from the layers before it."""
    conditioner: Conditioner = step.coupling.conditioner
    normalised = step.actnorm(x)[0]
    first_half = step.permutation(normalised)[0][:, : x.shape[1] // 2]
    outputs = []
    folded = conditioner.conv1.fold(conditioner.norm1.bias, conditioner.norm1.log_scale.exp())
    h = conditioner.conv1.append_to_input(first_half, folded)
    outputs += [normalised, h]
    h = torch.einsum("oi,bihw->bohw", conditioner.weight2, h.relu())
    return [*outputs, conditioner.norm2(h)[0]]


@over_combinations
def test_initialize_normalises_after_every_actnorm(coupling: str, permutation: str) -> None:
    config = config_of(n_levels=2, side=8, channels=3, coupling=coupling, permutation=permutation)
    glow = new_glow(config)
    x = 0.1 * images(config, n=7) + 0.2
    before = glow.levels[0].steps.bijections[0].actnorm(glow.levels[0].squeeze(x)[0])[0]
    assert before.mean().abs().item() > 0.01
    glow.initialize(x)
    checked = 0
    with torch.no_grad():
        for level in glow.levels:
            x = level.squeeze(x)[0]
            for step in level.steps.bijections:
                for h in activations_after_actnorms(step, x):
                    mean, variance = h.mean(dim=(0, 2, 3)), h.var(dim=(0, 2, 3), correction=0)
                    assert_close(mean, torch.zeros_like(mean), 1e-8)
                    assert_close(variance, torch.ones_like(variance), 1e-3)
                    checked += 1
                x = step(x)[0]
            if level.split is not None:
                x = level.split(x)[0]
    assert checked == 2 * 2 * 3


def test_initialize_refuses_a_second_time_also_after_loading(tmp_path: Path) -> None:
    config = config_of()
    glow, x = Glow(config), images(config).float()
    assert not glow.initialized
    save_glow(glow, tmp_path / "new")
    load_glow(tmp_path / "new").initialize(x)
    glow.initialize(x)
    log_prob = glow.log_prob(x)
    with pytest.raises(ValueError, match="initialized already"):
        glow.initialize(x * 2)
    assert torch.equal(glow.log_prob(x), log_prob)
    save_glow(glow, tmp_path / "old")
    with pytest.raises(ValueError, match="initialized already"):
        load_glow(tmp_path / "old").initialize(x)


def test_a_refused_batch_leaves_the_model_uninitialised() -> None:
    config = config_of()
    glow = Glow(config).double()
    with pytest.raises(ValueError, match="expected"):
        glow.initialize(images(config)[:, :, :2])
    glow.initialize(images(config))


def initialize_a_part(rank: int, folder: str, world_size: int) -> None:
    """One of several processes: its share of the images, and what became of the model."""
    file = Path(folder) / "store"
    dist.init_process_group(
        "gloo", store=dist.FileStore(str(file), world_size), rank=rank, world_size=world_size
    )
    config = config_of(n_levels=2, side=8, channels=3)
    glow = new_glow(config)
    share = images(config, n=6).chunk(world_size)[rank]
    glow.initialize(share)
    save_glow(glow, Path(folder) / str(rank))
    dist.destroy_process_group()


def test_several_processes_initialize_from_the_global_batch(tmp_path: Path) -> None:
    config = config_of(n_levels=2, side=8, channels=3)
    alone = new_glow(config)
    alone.initialize(images(config, n=6))
    mp.start_processes(initialize_a_part, (str(tmp_path), 3), nprocs=3, start_method="spawn")
    for rank in range(3):
        weights = load_file(tmp_path / str(rank) / "model.safetensors")
        for name, expected in alone.state_dict().items():
            torch.testing.assert_close(weights[name], expected, rtol=0, atol=1e-9)
