"""From a GlowConfig to its layers: the one place that knows which choice means which layer."""

from collections.abc import Callable

from glow.actnorm import ActNorm
from glow.batchnorm import BatchNorm
from glow.bijection import Bijection
from glow.chain import Chain
from glow.checkerboard import CheckerboardCoupling
from glow.conditioner import Conditioner
from glow.config import GlowConfig
from glow.coupling import AdditiveCoupling, AffineCoupling
from glow.level import Level, Split
from glow.permutation import (
    InvertibleConv1x1,
    InvertibleConv1x1LU,
    Permutation,
    Reverse,
    Shuffle,
)
from glow.prior import SplitPrior
from glow.residual import ResidualConditioner
from glow.step import FlowStep

PERMUTATIONS: dict[str, Callable[[int], Permutation]] = {
    "reverse": Reverse,
    "shuffle": Shuffle,
    "conv1x1": InvertibleConv1x1,
    "conv1x1_lu": InvertibleConv1x1LU,
}
NETWORKS: dict[str, type[Conditioner] | type[ResidualConditioner]] = {
    "plain": Conditioner,
    "residual": ResidualConditioner,
}


def build_levels(config: GlowConfig) -> list[Level]:
    """All levels, finest first."""
    levels = []
    channels = config.channels
    for index in range(config.n_levels):
        masked = [_masked_step(config, channels, i % 2) for i in range(config.checkerboard_depth)]
        channels *= 4
        steps = [_step(config, channels) for _ in range(config.depth)]
        split = None
        if index < config.n_levels - 1:
            channels //= 2
            split = Split(
                SplitPrior(
                    channels,
                    edge_bias=config.edge_bias,
                    log_scale_factor=config.log_scale_factor,
                )
            )
        levels.append(
            Level(
                Chain(masked, backprop=config.backprop),
                Chain(steps, backprop=config.backprop),
                split,
            )
        )
    return levels


def _step(config: GlowConfig, channels: int) -> Bijection:
    permutation = PERMUTATIONS[config.permutation](channels)
    coupling = _coupling(config, channels)
    if config.normalization == "actnorm":
        return FlowStep(ActNorm(channels, config.log_scale_factor), permutation, coupling)
    return Chain([*_normalization(config, channels), permutation, coupling])


def _masked_step(config: GlowConfig, channels: int, parity: int) -> Bijection:
    coupling = CheckerboardCoupling(
        channels,
        lambda seen, needed: _network(config, seen, needed),
        parity=parity,
        affine=config.coupling == "affine",
        min_scale=config.min_scale,
    )
    return Chain([*_normalization(config, channels), coupling])


def _normalization(config: GlowConfig, channels: int) -> list[Bijection]:
    match config.normalization:
        case "actnorm":
            return [ActNorm(channels, config.log_scale_factor)]
        case "batchnorm":
            return [BatchNorm(channels)]
        case _:
            return []


def _coupling(config: GlowConfig, channels: int) -> AdditiveCoupling | AffineCoupling:
    def network(seen: int, needed: int) -> Conditioner | ResidualConditioner:
        return _network(config, seen, needed)

    if config.coupling == "additive":
        return AdditiveCoupling(channels, network)
    return AffineCoupling(channels, network, config.min_scale)


def _network(config: GlowConfig, seen: int, needed: int) -> Conditioner | ResidualConditioner:
    return NETWORKS[config.conditioner](
        seen,
        config.hidden_channels,
        needed,
        edge_bias=config.edge_bias,
        actnorm=config.conditioner_actnorm,
        log_scale_factor=config.log_scale_factor,
    )
