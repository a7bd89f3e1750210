"""normflows' Glow, built to the same architecture as ours: the peer that speed is measured by."""

import normflows
import torch
from torch import Tensor, nn

from glow import GlowConfig


def peer(config: GlowConfig) -> nn.Module:
    """Normflows' multi-scale flow with the levels, steps, widths and layers of `config`.

    Its convolutions have no edge channel, and its prior of the finer levels is not conditioned
    on the coarser ones: both are a little less work than ours.
    """
    channels, side = config.channels, config.image_size
    priors, flows, merges = [], [], []
    for level in range(config.n_levels):  # normflows counts from the coarsest
        below = config.n_levels - 1 - level
        width, scale = channels * 2 ** (below + 2), 2 ** (below + 1)
        blocks: list[nn.Module] = [
            normflows.flows.GlowBlock(
                width,
                config.hidden_channels,
                scale=True,
                scale_map="sigmoid",
                use_lu=config.permutation == "conv1x1_lu",
                net_actnorm=config.conditioner_actnorm,
            )
            for _ in range(config.depth)
        ]
        flows.append([*blocks, normflows.flows.Squeeze()])
        if level:
            merges.append(normflows.flows.Merge())
        leaving = width if level == 0 else width // 2
        shape = (leaving, side // scale, side // scale)
        priors.append(normflows.distributions.DiagGaussian(shape))
    return normflows.MultiscaleFlow(priors, flows, merges, class_cond=False)


def loss_of_peer(flow: nn.Module, x: Tensor) -> Tensor:
    """Negative log-likelihood, as normflows' examples train it."""
    return flow.forward_kld(x)


def log_prob_of_peer(flow: nn.Module, x: Tensor) -> Tensor:
    """Of each image, (B,), nats."""
    return flow.log_prob(x, None)


@torch.no_grad()
def sample_of_peer(flow: nn.Module, n: int) -> Tensor:
    """N images."""
    x, _ = flow.sample(n)
    return x
