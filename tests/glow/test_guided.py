"""Guided edits: what a guide has learnt, and what it lets an edit move."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from glow import Glow, GlowConfig, Latents
from glow.attributes import edit
from glow.counterfactual import Counterfactual
from glow.guide import Guide, train_guide
from glow.guided import guided_directions

NAMES = ("left", "top")
SIDE, N = 8, 6
DIMS = 3 * SIDE**2


def faces(present: Tensor) -> Tensor:
    """Dark images that are lit on the left, at the top, or both: levels (N, 3, 8, 8)."""
    levels = torch.full((len(present), 3, SIDE, SIDE), 8, dtype=torch.uint8)
    levels[present[:, 0], :, :, : SIDE // 2] += 12
    levels[present[:, 1], :, : SIDE // 2] += 8
    return levels


def learnt(seed: int = 0) -> Guide:
    random = torch.Generator().manual_seed(3)
    drawn = (torch.rand(32, 2, generator=random) < 0.5 for _ in range(40))
    return train_guide(
        ((faces(present), present) for present in drawn),
        NAMES,
        torch.zeros(2, DIMS),
        image_size=SIDE,
        channels=3,
        n_bits=5,
        steps=40,
        seed=seed,
        device=torch.device("cpu"),
    )


@pytest.fixture(scope="module")
def guide() -> Guide:
    return learnt()


@pytest.fixture(scope="module")
def glow() -> Glow:
    torch.manual_seed(0)
    config = GlowConfig(image_size=SIDE, n_bits=5, n_levels=2, depth=2, hidden_channels=4)
    glow = Glow(config)
    glow.initialize(torch.rand(16, 3, SIDE, SIDE) - 0.5)
    return glow.eval()


@pytest.fixture(scope="module")
def dark(glow: Glow) -> Latents:
    x = (faces(torch.zeros(N, 2).bool()) + 0.5) / 32 - 0.5
    with torch.inference_mode():
        return glow.encode(x + 0.01 * torch.randn(x.shape, generator=torch.Generator()))


@pytest.fixture(scope="module")
def leaking(glow: Glow, dark: Latents) -> Counterfactual:
    """Means of which adding `left` lights the top, too."""
    both = faces(torch.tensor([[True, False]]).expand(N, 2))
    both[:, :, : SIDE // 2] += 8
    both = (both + 0.5) / 32 - 0.5
    with torch.inference_mode():
        lit = (glow.encode(both).flatten() - dark.flatten()).mean(dim=0)
    effects = torch.stack([lit, torch.zeros_like(lit)]).double()
    no_pairs, none = torch.zeros(0, 2).long(), torch.zeros(2, 2).bool()
    return Counterfactual(effects, torch.zeros(2), no_pairs, none, NAMES)


def test_a_guide_learns_and_is_the_same_for_a_seed_and_from_a_file(
    guide: Guide, tmp_path: Path
) -> None:
    present = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    x = (faces(present) + 0.5) / 32 - 0.5
    assert torch.equal(guide.sees(x), present)
    assert torch.equal(learnt()(x), guide(x))
    assert not torch.equal(learnt(seed=1)(x), guide(x))
    file = tmp_path / "guide.safetensors"
    file.write_bytes(guide.to_bytes(weights=""))
    again = Guide.load(file)
    assert again.names == NAMES
    assert torch.equal(again(x), guide(x))


def test_a_file_of_something_else_is_no_guide(tmp_path: Path) -> None:
    file = tmp_path / "guide.safetensors"
    save_file({"Smiling": torch.zeros(3)}, file)
    with pytest.raises(ValueError, match="does not hold a guide"):
        Guide.load(file)
    with pytest.raises(ValueError, match="does not hold a guide"):
        Guide.load(tmp_path / "none")


def test_a_guided_edit_adds_the_attribute_and_keeps_the_other(
    glow: Glow, guide: Guide, dark: Latents, leaking: Counterfactual
) -> None:
    nothing = torch.zeros(N, 2).bool()
    start = guided_directions(glow, guide, leaking, dark, 0, present=nothing, steps=0)
    found = guided_directions(glow, guide, leaking, dark, 0, present=nothing, steps=30)
    with torch.inference_mode():
        leaked, kept = (
            guide(glow.decode(edit(dark, directions, 1.0))).mean(dim=0)
            for directions in (start, found)
        )
    assert (leaked > 0).all()
    assert (kept[:, 0] > 0).all()
    assert (kept[:, 1] < 0).all()
    assert torch.equal(edit(dark, found, 0.0).flatten(), dark.flatten())


def test_an_image_is_edited_alike_alone_and_among_others_and_as_it_is_seen(
    glow: Glow, guide: Guide, dark: Latents, leaking: Counterfactual
) -> None:
    together = guided_directions(glow, guide, leaking, dark, 0)
    again = guided_directions(glow, guide, leaking, dark, 0, present=torch.zeros(N, 2).bool())
    assert torch.equal(together, again)
    alone = guided_directions(glow, guide, leaking, dark.images(slice(1, 2)), 0)
    assert torch.allclose(alone[0], together[1], atol=1e-3)
