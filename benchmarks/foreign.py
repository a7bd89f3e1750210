"""Flows of other packages as densities of our images, x in [-0.5, 0.5), at a given size.

Each keeps the layers and the scaling of its own examples, in float32. What a package asks of its
ActNorms at every step, whether they are initialised, is answered once and for all after the first
batch (`settle`), so that `torch.compile` sees one graph.

    pip install --no-deps normflows==1.7.3 antsnormflows==1.0.0 jet-pytorch==0.0.2 einops
"""

import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from glow import GlowConfig
from glow.muon import Matrix

Build = Callable[[GlowConfig, dict[str, Any]], nn.Module]
PACKAGES = {"normflows": "normflows", "antsnormflows": "antsnormflows", "jet": "jet_pytorch"}


class Multiscale(nn.Module):
    """A multi-scale Glow of normflows, or of antsnormflows, its fork."""

    def __init__(self, flow: nn.Module) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor) -> Tensor:
        """The log-density of each image, (B,), nats."""
        return self.flow.log_prob(x, None)


class Transformer(nn.Module):
    """Jet: couplings of patches whose networks are transformers, and a normal prior."""

    def __init__(self, jet: nn.Module) -> None:
        super().__init__()
        self.jet = jet

    def forward(self, x: Tensor) -> Tensor:
        """The log-density of each image, (B,), nats; Jet's own images are in [-1, 1)."""
        z, log_det = self.jet((2 * x).permute(0, 2, 3, 1))
        dims = x[0].numel()
        normal = -0.5 * (z.square().flatten(1).sum(1) + dims * math.log(2 * math.pi))
        return normal + log_det.flatten() + dims * math.log(2)


def normflows(images: GlowConfig, size: dict[str, Any]) -> nn.Module:
    """`peer`, of the sizes that a GlowConfig has."""
    from peer import peer  # its package is not everywhere

    return Multiscale(peer(replace(images, **size)))


def antsnormflows(images: GlowConfig, size: dict[str, Any]) -> nn.Module:
    """The same of its fork, whose blocks keep what they have by default: bounded log-scales."""
    package = importlib.import_module("antsnormflows")
    config = replace(images, **size)
    priors, flows, merges = [], [], []
    for level in range(config.n_levels):  # from the coarsest
        below = config.n_levels - 1 - level
        channels, scale = config.channels * 2 ** (below + 2), 2 ** (below + 1)
        blocks = [
            package.flows.GlowBlock2d(
                channels, config.hidden_channels, net_actnorm=config.conditioner_actnorm
            )
            for _ in range(config.depth)
        ]
        flows.append([*blocks, package.flows.Squeeze2d()])
        if level:
            merges.append(package.flows.Merge())
        leaving = channels if level == 0 else channels // 2
        side = config.image_size // scale
        priors.append(package.distributions.DiagGaussian((leaving, side, side)))
    return Multiscale(package.MultiscaleFlow(priors, flows, merges, class_cond=False))


def jet(images: GlowConfig, size: dict[str, Any]) -> nn.Module:
    """Jet of the given patch size, couplings, depth, width and heads."""
    patch, side = size["patch_size"], images.image_size
    package = importlib.import_module("jet_pytorch")
    return Transformer(
        package.Jet(
            patch_size=patch,
            patch_dim=patch * patch * images.channels,
            n_patches=(side // patch) ** 2,
            img_dims=(side, side),
            coupling_layers=size["coupling_layers"],
            block_depth=size["block_depth"],
            block_width=size["block_width"],
            num_heads=size["num_heads"],
        )
    )


BUILD: dict[str, Build] = {"normflows": normflows, "antsnormflows": antsnormflows, "jet": jet}


def settle(flow: nn.Module) -> None:
    """After the first batch: its ActNorms know for good that they are initialised."""
    for module in flow.modules():
        if "data_dep_init_done" in module._buffers:
            del module._buffers["data_dep_init_done"]
            module.data_dep_init_done = 1.0  # a number, so no branch


def muon_matrices(flow: nn.Module) -> list[Matrix]:
    """What Muon moves in a flow, as in ours (glow/muon.py), in the order of its parameters.

    The kernels of convolutions and linear maps, which are in the networks alone in these packages;
    the queries, keys and values of an attention, which lie in one parameter, as a matrix each; and
    the matrices of 1x1 convolutions that are free.
    """
    parts: dict[int, int] = {}
    for module in flow.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            parts[id(module.weight)] = 1
        elif isinstance(module, nn.MultiheadAttention):
            parts[id(module.in_proj_weight)] = 3
        elif isinstance(module.__dict__["_parameters"].get("W"), nn.Parameter):
            parts[id(module.W)] = 1
    return list(_matrices(flow, parts))


def _matrices(flow: nn.Module, parts: dict[int, int]) -> Iterator[Matrix]:
    start = 0
    for parameter in flow.parameters():
        n = parts.get(id(parameter), 0)
        for part in range(n):
            rows, columns = len(parameter) // n, parameter[0].numel()
            yield Matrix(start + part * rows * columns, rows, columns)
        start += parameter.numel()
