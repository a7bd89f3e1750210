"""How large a Glow is, from its config alone: parameters and multiplications."""

from glow.config import GlowConfig
from glow.residual import BLOCKS


def count_parameters(config: GlowConfig) -> int:
    """Of all learned numbers, by the formula; equal to counting them in `Glow(config)`.

    With c channels of the half that is seen, o of the network's output, w hidden channels, e = 1
    with an edge bias and a = 2 with ActNorm in the network (1 without):

        network   9 (c + e) w + a w + w^2 + a w + 9 (w + e) o + 2 o
        step      2 C (ActNorm) + 2 C^2 + C (LU; C^2 plain, 0 fixed) + network
        split     9 (C / 2 + e) C + 2 C
        top       2 C, and per class 3 C + 1

    C is 4, 8, 16, ... times the channels of the image over 1, 2, 4, ..., twice as many at each
    level; c = C / 2, o = C (affine) or C / 2 (additive). Half of LU's two squares is masked.
    """
    total = 0
    channels = config.channels
    for index in range(config.n_levels):
        masked = _normalization(config, channels) + _network(config, channels, channels)
        total += config.checkerboard_depth * masked
        channels *= 4
        half = channels // 2
        step = _normalization(config, channels) + _network(config, half, channels - half)
        step += {"conv1x1": channels**2, "conv1x1_lu": 2 * channels**2 + channels}.get(
            config.permutation, 0
        )
        total += config.depth * step
        if index < config.n_levels - 1:
            total += _zero_conv(config, half, channels)
            channels = half
    total += 2 * channels if config.learn_top else 0
    return total + len(config.classes) * (3 * channels + 1)


def multiplications(config: GlowConfig) -> int:
    """Multiply-accumulates of one image's log_prob in convolutions; FLOPs are twice as many.

    A training step has three times as many, forward and two products backward; five times with
    reversible backpropagation, which inverts each step and computes it again.
    """
    total = 0
    channels, pixels = config.channels, config.image_size**2
    for index in range(config.n_levels):
        total += config.checkerboard_depth * pixels * _work(config, channels, channels)
        channels, pixels = channels * 4, pixels // 4
        half = channels // 2
        permuted = config.normalization == "actnorm" or config.permutation.startswith("conv")
        step = channels**2 if permuted else 0
        total += config.depth * pixels * (step + _work(config, half, channels - half))
        if index < config.n_levels - 1:
            total += pixels * 9 * half * channels
            channels = half
    return total


def _outputs(config: GlowConfig, changed: int) -> int:
    return 2 * changed if config.coupling == "affine" else changed


def _normalization(config: GlowConfig, channels: int) -> int:
    return 2 * channels if config.normalization == "actnorm" else 0


def _zero_conv(config: GlowConfig, inputs: int, outputs: int) -> int:
    return 9 * (inputs + config.edge_bias) * outputs + 2 * outputs


def _network(config: GlowConfig, seen: int, changed: int) -> int:
    width, norm = config.hidden_channels, 2 if config.conditioner_actnorm else 1
    last = _zero_conv(config, width, _outputs(config, changed))
    first = 9 * (seen + config.edge_bias) * width
    if config.conditioner == "plain":
        return first + norm * width + width**2 + norm * width + last
    block = 2 * (norm * width + 9 * (width + config.edge_bias) * width)
    return first + BLOCKS * block + norm * width + last


def _work(config: GlowConfig, seen: int, changed: int) -> int:
    width, outputs = config.hidden_channels, _outputs(config, changed)
    if config.conditioner == "plain":
        return 9 * (seen + config.edge_bias) * width + width**2 + 9 * width * outputs
    return 9 * seen * width + BLOCKS * 2 * 9 * width**2 + 9 * width * outputs
