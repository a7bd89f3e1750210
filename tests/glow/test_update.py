"""The update of all weights: torch's optimisers, chunk by chunk, and the average."""

import pytest
import torch

from glow.update import CHUNK, Update

OPTIMIZERS = {
    "adamax": lambda weights: torch.optim.Adamax([weights], lr=1e-2),
    "adamw": lambda weights: torch.optim.AdamW([weights], lr=1e-2, weight_decay=0.0),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("size", [7, 2 * CHUNK + 5])
def test_it_is_torch_s_optimiser_and_an_average(name: str, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(size, generator=generator)
    theirs = weights.clone().requires_grad_()
    optimizer = OPTIMIZERS[name](theirs)
    gradients, ema = torch.zeros(size), weights.clone()
    expected_ema = weights.clone()
    update = Update(weights, gradients, ema, optimizer=name)
    for _ in range(4):
        gradients.copy_(torch.randn(size, generator=generator))
        theirs.grad = 0.5 * gradients
        update(learning_rate=1e-2, scale=0.5, ema_decay=0.9)
        optimizer.step()
        expected_ema = 0.9 * expected_ema + 0.1 * theirs.detach()
    torch.testing.assert_close(weights, theirs.detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(ema, expected_ema, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_state_goes_on_to_the_same_bits(name: str) -> None:
    def run(split: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        weights, gradients = torch.randn(50, generator=generator), torch.zeros(50)
        update = Update(weights, gradients, weights.clone(), optimizer=name)
        for step in range(6):
            if step == split:
                state = {key: value.clone() for key, value in update.state().items()}
                update = Update(weights, gradients, weights.clone(), optimizer=name)
                update.load(state)
            gradients.copy_(torch.randn(50, generator=generator))
            update(learning_rate=1e-2, scale=1.0, ema_decay=0.9)
        return weights

    assert torch.equal(run(3), run(99))
