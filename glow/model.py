"""Glow: the multi-scale flow, its exact log-likelihood, and sampling."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from glow.actnorm import ActNorm
from glow.chain import Backprop
from glow.coupling import AdditiveCoupling, AffineCoupling
from glow.latents import Latents
from glow.level import FlowStep, Level, Split
from glow.permutation import (
    InvertibleConv1x1,
    InvertibleConv1x1LU,
    Permutation,
    Reverse,
    Shuffle,
)
from glow.prior import GaussianPrior

Coupling = Literal["additive", "affine"]
PermutationName = Literal["reverse", "shuffle", "conv1x1", "conv1x1_lu"]

PERMUTATIONS: dict[str, Callable[[int], Permutation]] = {
    "reverse": Reverse,
    "shuffle": Shuffle,
    "conv1x1": InvertibleConv1x1,
    "conv1x1_lu": InvertibleConv1x1LU,
}


@dataclass(frozen=True, kw_only=True)
class GlowConfig:
    """What a Glow is made of; saved beside its weights.

    Attributes:
        image_size: side of the square images, a multiple of 2^n_levels.
        channels: of the images.
        n_bits: of the discrete data that the density is about.
        n_levels: L, scales of the flow.
        depth: K, steps of flow per level.
        hidden_channels: width of the networks inside the couplings.
        coupling: "affine" or "additive".
        permutation: "conv1x1_lu", "conv1x1", "shuffle" or "reverse".
        min_scale: of an affine coupling, in [0, 1); 0 is the paper's, more keeps samples and
            edits from exploding.
        learn_top: whether the prior of the last level has a learned mean and scale.
        backprop: "autograd", or "reversible" for memory that does not grow with depth.
    """

    image_size: int
    channels: int = 3
    n_bits: int = 8
    n_levels: int = 3
    depth: int = 32
    hidden_channels: int = 512
    coupling: Coupling = "affine"
    permutation: PermutationName = "conv1x1_lu"
    min_scale: float = 0.0
    learn_top: bool = True
    backprop: Backprop = "autograd"

    def __post_init__(self) -> None:
        for name in ("image_size", "channels", "n_levels", "depth", "hidden_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not 1 <= self.n_bits <= 8:
            raise ValueError(f"n_bits is {self.n_bits}, expected 1 to 8")
        if not 0.0 <= self.min_scale < 1.0:
            raise ValueError(f"min_scale is {self.min_scale}, expected at least 0 and below 1")
        if self.image_size % 2**self.n_levels:
            raise ValueError(
                f"image_size is {self.image_size}, expected a multiple of {2**self.n_levels}, "
                f"because each of n_levels = {self.n_levels} levels halves the side"
            )
        choices = (
            ("coupling", Coupling),
            ("permutation", PermutationName),
            ("backprop", Backprop),
        )
        for name, kind in choices:
            if getattr(self, name) not in get_args(kind):
                expected = ", ".join(get_args(kind))
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {expected}")

    @property
    def n_dims(self) -> int:
        """D, the numbers in an image."""
        return self.channels * self.image_size**2

    @property
    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """(C, H, W) of the latents of each level, finest first; their sizes add up to D."""
        shapes = []
        channels, side = self.channels, self.image_size
        for _ in range(self.n_levels - 1):
            channels, side = channels * 2, side // 2
            shapes.append((channels, side, side))
        return [*shapes, (channels * 4, side // 2, side // 2)]


class Glow(nn.Module):
    """A flow from images in [-0.5, 0.5) to standard normal latents (Kingma & Dhariwal 2018).

    log p(x) = sum of the log-dets of all steps + log-density of all latents, in nats.
    """

    initialized: Tensor

    def __init__(self, config: GlowConfig) -> None:
        super().__init__()
        self.config = config
        permutation = PERMUTATIONS[config.permutation]
        levels = []
        channels = config.channels
        for index in range(config.n_levels):
            channels *= 4
            steps = [
                FlowStep(
                    ActNorm(channels),
                    permutation(channels),
                    _coupling(config, channels),
                )
                for _ in range(config.depth)
            ]
            last = index == config.n_levels - 1
            levels.append(
                Level(steps, None if last else Split(channels), backprop=config.backprop)
            )
            if not last:
                channels //= 2
        self.levels = nn.ModuleList(levels)
        self.top = GaussianPrior(channels, context="learned" if config.learn_top else "none")
        self.register_buffer("initialized", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """The data-dependent first pass: sets every ActNorm from a batch x, once.

        Raises:
            ValueError: it was initialised before; what was learned would be overwritten.
        """
        if self.initialized:
            raise ValueError("this Glow is initialized already; build a new one to start again")
        self._check_shape(x)
        for level in self._levels():
            x = level.steps.initialize(level.squeeze(x)[0])
            if level.split is not None:
                x = x.chunk(2, dim=1)[0]
        self.initialized.logical_not_()

    def forward(self, x: Tensor) -> Tensor:
        """`log_prob(x)`."""
        return self.log_prob(x)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log p(x) of the continuous density, (B,), nats; x is (B, C, H, W) in [-0.5, 0.5)."""
        return self._encode(x)[1]

    def encode(self, x: Tensor) -> Latents:
        """All latents of x, standardised: `decode(encode(x))` is x."""
        return self._encode(x)[0]

    def decode(self, latents: Latents) -> Tensor:
        """The inverse of `encode`: (B, C, H, W), not clipped."""
        remaining = list(latents)
        x = self.top.inverse(remaining.pop())
        for level in reversed(self._levels()):
            if level.split is not None:
                x = level.split.inverse(x, remaining.pop())
            x, _ = level.steps.inverse(x)
            x, _ = level.squeeze.inverse(x)
        return x

    @torch.no_grad()
    def sample(
        self, n: int, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """N images, (n, C, H, W), continuous, not clipped.

        Args:
            n: how many.
            temperature: factor on the standard deviation of every prior (Glow, section 6).
            generator: of the noise, on any device; the same one gives the same images.
        """
        return self.decode(self.draw_latents(n, temperature=temperature, generator=generator))

    def draw_latents(
        self, n: int, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Latents:
        """Latents of n images, N(0, temperature^2)."""
        device = self.initialized.device
        source = generator.device if generator is not None else device
        noise = [
            torch.randn(n, *shape, generator=generator, device=source)
            for shape in self.config.latent_shapes
        ]
        return Latents([level.to(self._parameter_like()) * temperature for level in noise])

    def _encode(self, x: Tensor) -> tuple[Latents, Tensor]:
        self._check_shape(x)
        latents = []
        log_prob = x.new_zeros(len(x))
        for level in self._levels():
            x, _ = level.squeeze(x)
            x, log_det = level.steps(x)
            log_prob = log_prob + log_det
            if level.split is not None:
                x, eps, term = level.split(x)
                latents.append(eps)
                log_prob = log_prob + term
        eps, term = self.top(x)
        return Latents([*latents, eps]), log_prob + term

    def _levels(self) -> list[Level]:
        return list(self.levels)  # type: ignore[arg-type]  # a ModuleList of Level

    def _parameter_like(self) -> Tensor:
        return next(self.parameters())

    def _check_shape(self, x: Tensor) -> None:
        side = self.config.image_size
        expected = (self.config.channels, side, side)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected:
            raise ValueError(f"images are {tuple(x.shape)}, expected (batch, *{expected})")


def _coupling(config: GlowConfig, channels: int) -> AdditiveCoupling | AffineCoupling:
    if config.coupling == "additive":
        return AdditiveCoupling(channels, config.hidden_channels)
    return AffineCoupling(channels, config.hidden_channels, config.min_scale)
