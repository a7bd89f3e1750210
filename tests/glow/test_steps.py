"""Steps run together are the steps as the paper writes them: values, inverses, gradients."""

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from small import COUPLINGS, assert_close, config_of, images, new_glow, over_combinations
from torch import Tensor, nn

from glow import Glow
from glow.architecture import PERMUTATIONS
from glow.coupling import halves
from glow.flat import GradientVector, flatten_parameters
from glow.folding import Folding
from glow.parts import stacked

pytestmark = pytest.mark.proof

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "without edge bias": {"edge_bias": False},
    "without actnorm inside": {"conditioner_actnorm": False},
    "bounded scale": {"min_scale": 0.3},
    "another log-scale factor": {"log_scale_factor": 1.0},
    "no actnorm before": {"normalization": "none"},
    "checkerboard": {"checkerboard_depth": 1},
}


def assert_same_both_ways(glow: Glow, x: Tensor) -> None:
    """Without gradients steps are run together; in evaluation with gradients, one by one."""
    glow.eval()
    slow = glow(x)
    with torch.no_grad():
        fast = glow(x)
        assert_close(fast.log_prob, slow.log_prob.detach(), 1e-10)
        assert_close(fast.latents.flatten(), slow.latents.flatten().detach(), 1e-10)
        assert_close(glow.decode(fast.latents), x, 1e-9)
        there = x
        for level in glow.levels:
            there = level.squeeze(there)[0]
            z = torch.randn_like(there) * 0.1
            again = z.clone().requires_grad_()
            x_fast, log_det = level.steps.inverse(z)
            assert_close(level.steps.restore(z), x_fast, 0)
            with torch.enable_grad():
                x_slow, expected = level.steps.inverse(again)
            assert_close(x_fast, x_slow.detach(), 1e-9)
            assert_close(log_det, expected.detach(), 1e-9)
            there = halves(there)[0]


@over_combinations
def test_values_and_inverses(coupling: str, permutation: str) -> None:
    config = config_of(channels=3, depth=3, coupling=coupling, permutation=permutation)
    assert_same_both_ways(new_glow(config, noise=0.02), images(config))


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_gradients_in_training_are_those_of_the_definition(
    coupling: str, variant: dict[str, Any]
) -> None:
    config = config_of(channels=3, depth=3, coupling=coupling, **variant)
    glow, x = new_glow(config), images(config)
    found = []
    for training in (True, False):
        glow.train(training)
        glow.zero_grad()
        glow.log_prob(x).square().sum().backward()
        found.append({name: p.grad.clone() for name, p in glow.named_parameters()})
    for name, expected in found[1].items():
        assert_close(
            found[0][name] / expected.abs().max().clamp(min=1),
            expected / expected.abs().max().clamp(min=1),
            1e-9,
        )


def test_other_parameters_are_noticed() -> None:
    config = config_of(channels=3, depth=2)
    glow, other, x = new_glow(config), new_glow(config, seed=1), images(config)
    with torch.no_grad():
        before = glow.log_prob(x)
        glow.load_state_dict(other.state_dict(), assign=True)
        assert not torch.equal(glow.log_prob(x), before)
        assert_close(glow.log_prob(x), other.log_prob(x), 1e-12)
        glow.float().double()
        assert_close(glow.log_prob(x), other.log_prob(x), 1e-2)


def in_a_vector(glow: Glow) -> GradientVector:
    """Of weights that lie in a vector too, as a trainer has them; NaN before it is entered."""
    weights = flatten_parameters(glow)
    return GradientVector(glow.parameters(), torch.full_like(weights, torch.nan))


def by_autograd(glow: Glow, x: Tensor) -> dict[str, Tensor]:
    glow.zero_grad()
    glow.log_prob(x).sum().backward()
    return {name: p.grad for name, p in glow.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("backprop", ["autograd", "balanced", "reversible"])
@pytest.mark.parametrize("depth", [1, 3, 5])  # reversible has 5 as 4 and 1
@pytest.mark.parametrize("permutation", PERMUTATIONS)
def test_gradients_added_up_in_a_vector_are_those_of_autograd(
    permutation: str, depth: int, backprop: str
) -> None:
    config = config_of(channels=3, depth=depth, permutation=permutation, backprop=backprop)
    glow, x = new_glow(config).train(), images(config)
    expected = by_autograd(glow, x)
    into = in_a_vector(glow)
    with glow.gathering(into):
        for _ in range(2):
            glow.log_prob(x).sum().backward()
        pieces = glow.levels[0].steps._pieces()
        assert all(len(piece.inputs(into)) == 1 for piece in pieces)  # past autograd
    for name, parameter in glow.named_parameters():
        assert parameter.grad is None
        assert_close(into[parameter], 2 * expected[name], 1e-9)
    again = by_autograd(glow, x)
    for name, gradient in expected.items():
        assert_close(again[name], gradient, 1e-9)


@pytest.mark.parametrize("fixed", ["bias", "logs"])  # the bias stands for all in autograd's graph
def test_what_is_not_learned_stays_zero_in_the_vector(fixed: str) -> None:
    config = config_of(channels=3, depth=3)
    glow, x = new_glow(config).train(), images(config)
    expected = by_autograd(glow, x)
    into = in_a_vector(glow)
    frozen = dict(glow.named_parameters())[f"levels.0.steps.bijections.0.actnorm.{fixed}"]
    for learned in (True, False, True):
        frozen.requires_grad_(requires_grad=learned)
        with glow.gathering(into):
            glow.log_prob(x).sum().backward()
        for name, parameter in glow.named_parameters():
            wanted = expected[name] if learned or parameter is not frozen else 0 * parameter
            assert_close(into[parameter], wanted.detach(), 1e-9)


@pytest.mark.parametrize("depth", [1, 3])
def test_weights_that_are_moved_are_noticed(depth: int) -> None:
    config = config_of(channels=3, depth=depth)
    glow, x = new_glow(config).train(), images(config)
    for _ in range(2):
        flatten_parameters(glow)
        by_autograd(glow, x)
    copied = copy.deepcopy(glow)
    step: Any = glow.levels[0].steps.bijections[-1]
    for parameter in (step.coupling.conditioner.weight2, step.permutation.lower):
        parameter.data = parameter.data * 1.5
    moved = by_autograd(glow, x)
    with torch.no_grad():
        value = glow.log_prob(x)
    glow.eval()
    assert_close(value, glow.log_prob(x).detach(), 1e-9)
    for name, gradient in by_autograd(glow, x).items():
        assert_close(moved[name], gradient, 1e-9)
    assert not torch.equal(copied.log_prob(x), value)


def test_a_model_keeps_no_vector_of_gradients() -> None:
    config = config_of(channels=3)
    glow, x = new_glow(config).train(), images(config)
    into = in_a_vector(glow)
    with glow.gathering(into):
        glow.log_prob(x).sum().backward()
    gone = weakref.ref(into.vector)
    del into
    gc.collect()
    assert gone() is None


def test_frozen_weights_are_folded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(channels=3, depth=2)
    glow, x = new_glow(config).eval(), images(config)
    folded: list[int] = []
    fold = Folding._fold
    monkeypatch.setattr(Folding, "_fold", lambda *args: folded.append(0) or fold(*args))
    with torch.no_grad():
        expected = glow.log_prob(x)
        assert len(folded) == config.n_levels
        with glow.frozen():
            for _ in range(3):
                assert torch.equal(glow.log_prob(x), expected)
                assert_close(glow.log_prob(x[:1]), expected[:1], 1e-12)
        assert len(folded) == 2 * config.n_levels
        for parameter in glow.parameters():
            parameter.mul_(1.1)
        assert not torch.equal(glow.log_prob(x), expected)


@pytest.mark.parametrize(
    ("backprop", "n", "times"),
    [
        ("autograd", 24, 1),
        ("reversible", 24, 2),
        ("balanced", 8, 2),  # large beside so few activations
        ("balanced", 24, 1),
        ("balanced", 64, 2),  # little work beside so many
    ],
)
def test_what_weights_fold_to_is_kept_where_it_is_small_but_work(
    monkeypatch: pytest.MonkeyPatch, backprop: str, n: int, times: int
) -> None:
    config = config_of(
        n_levels=1, side=8, channels=3, depth=4, hidden_channels=16, backprop=backprop
    )
    glow, x = new_glow(config).train(), images(config, n)
    folded: list[int] = []
    fold = Folding._fold
    monkeypatch.setattr(Folding, "_fold", lambda *args: folded.append(0) or fold(*args))
    glow.log_prob(x).sum().backward()
    assert len(folded) == times


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("edge_bias", [True, False])
def test_frozen_weights_in_float32_are_packed_and_compute_the_same(
    coupling: str, *, edge_bias: bool
) -> None:
    config = config_of(
        channels=3, side=32, coupling=coupling, edge_bias=edge_bias, hidden_channels=64
    )
    glow = new_glow(config, noise=0.02).float().eval()
    x = images(config).float()
    with torch.inference_mode():
        latents, log_prob = glow.encode(x), glow.log_prob(x)
        decoded = glow.decode(latents)
        with glow.frozen():
            for batch in (x, x[:1]):
                torch.testing.assert_close(
                    glow.log_prob(batch), log_prob[: len(batch)], rtol=1e-6, atol=1e-3
                )
            assert_close(glow.decode(latents), decoded, 1e-5)
            assert glow.sample(2).isfinite().all()


@pytest.mark.parametrize("length", [1, 2, 5])
def test_tensors_at_equal_distances_are_stacked_without_a_copy(length: int) -> None:
    vector = torch.arange(40.0)
    regular = [nn.Parameter(vector[3 + 7 * i : 9 + 7 * i].view(2, 3)) for i in range(length)]
    assert torch.equal(stacked(regular), torch.stack(list(regular)))
    assert stacked(regular).data_ptr() == regular[0].data_ptr()


def test_other_tensors_are_copied() -> None:
    vector = torch.arange(40.0)
    uneven = [vector[0:3], vector[5:8], vector[9:12]]
    overlapping = [vector[0:3], vector[1:4]]
    backwards = [vector[9:12], vector[3:6]]
    apart = [torch.randn(3) for _ in range(3)]
    for tensors in (uneven, overlapping, backwards, apart):
        assert torch.equal(stacked(tensors), torch.stack(tensors))
