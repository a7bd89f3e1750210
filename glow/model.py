"""Glow: the multi-scale flow, its exact log-likelihood, and sampling."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from glow.allocator import keep_freed_memory
from glow.architecture import build_levels
from glow.chain import Chain
from glow.config import GlowConfig
from glow.flat import GradientVector
from glow.latents import Latents
from glow.level import Level
from glow.precision import Float32Products, Precision
from glow.prior import TopPrior
from glow.products import multiplies
from glow.steps import kind

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoding:
    """All that the flow says of a batch x; log_prob is the sum of the terms of all levels.

    Attributes:
        latents: standardised, one tensor per level.
        top: what the last level made of x, before its prior, (B, C, H, W).
        log_dets: of each level's steps, each (B,), nats.
        log_priors: log-density of what leaves at each level, each (B,), nats.
    """

    latents: Latents
    top: Tensor
    log_dets: list[Tensor]
    log_priors: list[Tensor]

    @property
    def log_prob(self) -> Tensor:
        """Log p(x), (B,), nats."""
        return torch.stack([*self.log_dets, *self.log_priors]).sum(dim=0)


class Glow(nn.Module):
    """A flow from images in [-0.5, 0.5) to standard normal latents (Kingma & Dhariwal 2018).

    log p(x) = sum of the log-dets of all steps + log-density of all latents, in nats.

    A model with classes is of p(x | class); there the methods take `labels`, (B,), int64, and a
    ValueError is raised without.
    """

    initialized: Tensor

    def __init__(self, config: GlowConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = nn.ModuleList(build_levels(config))
        channels = config.latent_shapes[-1][0]
        self.top = TopPrior(channels, learned=config.learn_top, n_classes=len(config.classes))
        self.register_buffer("initialized", torch.zeros((), dtype=torch.bool))
        self._chains = [module for module in self.modules() if isinstance(module, Chain)]

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """The data-dependent first pass: sets every ActNorm from a batch x, once.

        Raises:
            ValueError: it was initialised before; what was learned would be overwritten.
        """
        if self.initialized:
            raise ValueError("this Glow is initialized already; build a new one to start again")
        self._check_shape(x)
        with self.full_products():
            for level in self._levels():
                x = level.initialize(x)
                if level.split is not None:
                    x = x.chunk(2, dim=1)[0]
        self.initialized.logical_not_()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Encoding:
        """Latents and the terms of log p(x); x is (B, C, H, W) in [-0.5, 0.5)."""
        self._check_shape(x)
        latents, log_dets, log_priors = [], [], []
        with self.full_products():
            for level in self._levels():
                x, log_det = level(x)
                log_dets.append(log_det)
                if level.split is not None:
                    x, eps, log_prior = level.split(x)
                    latents.append(eps)
                    log_priors.append(log_prior)
            eps, log_prior = self.top(x, labels)
        return Encoding(Latents([*latents, eps]), x, log_dets, [*log_priors, log_prior])

    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log p(x) of the continuous density, (B,), nats; x is (B, C, H, W) in [-0.5, 0.5)."""
        return self(x, labels).log_prob

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Latents:
        """All latents of x, standardised: `decode(encode(x))` is x."""
        return self(x, labels).latents

    def decode(self, latents: Latents, labels: Tensor | None = None) -> Tensor:
        """The inverse of `encode`: (B, C, H, W), not clipped."""
        remaining = list(latents)
        with self.full_products():
            x = self.top.inverse(remaining.pop(), labels)
            for level in reversed(self._levels()):
                if level.split is not None:
                    x = level.split.inverse(x, remaining.pop())
                x = level.restore(x)
        return x

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """N images, (n, C, H, W), continuous, not clipped.

        Args:
            n: how many.
            temperature: factor on the standard deviation of every prior (Glow, section 6).
            generator: of the noise, on any device; the same one gives the same images.
            labels: (n,), of a model with classes.
        """
        latents = self.draw_latents(n, temperature=temperature, generator=generator)
        return self.decode(latents, labels)

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
        like = next(self.parameters())
        return Latents([level.to(like) * temperature for level in noise])

    def set_precision(self, precision: Precision) -> None:
        """How the networks of the steps of flow multiply from now on; see precision.py.

        It is no property of the model: it is not saved, and what is loaded has "float32". Steps
        without the paper's network and ActNorm have no choice, nor has evaluation with gradients;
        a line of the log says where that is all of the model.

        Args:
            precision: "float32", "tf32" (on a GPU; elsewhere the same) or "bfloat16", whose
                gradients are some thousandths off, and which halves the memory of hidden
                activations.
        """
        if precision not in get_args(Precision):
            expected = ", ".join(get_args(Precision))
            raise ValueError(f"precision is {precision!r}, expected one of {expected}")
        if precision != "float32" and not any(kind(module) for module in self.modules()):
            log.warning(
                "precision %s has no effect on a model of other than Glow's steps", precision
            )
        if precision == "bfloat16" and not multiplies(torch.bfloat16, self.initialized.device):
            log.warning(
                "this processor does not multiply bfloat16 itself: training will take several "
                "times as long as in float32"
            )
        for chain in self._chains:
            chain.precision = precision

    def full_products(self) -> Float32Products:
        """Inside, what is float32 is multiplied as such: what `backward` should run in, too."""
        return Float32Products(self.initialized, tf32=False)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, weights must not change: what they fold to, and inverses, are computed once.

        For many small batches: sampling, editing, scoring.
        """
        keep_freed_memory()
        for chain in self._chains:
            chain.freeze(frozen=True)
        try:
            yield
        finally:
            for chain in self._chains:
                chain.freeze(frozen=False)

    @contextmanager
    def gathering(self, into: GradientVector) -> Iterator[None]:
        """Inside, gradients are added up in that vector: most of them past autograd, in one go.

        For passes forward and backward, both inside. Whatever the backward pass is asked for, the
        gradients of the steps' parameters are added too.
        """
        for chain in self._chains:
            chain.into = into
        try:
            with into.open():
                yield
        finally:
            for chain in self._chains:
                chain.into = None

    def _levels(self) -> list[Level]:
        return list(self.levels)  # type: ignore[arg-type]  # a ModuleList of Level

    def _check_shape(self, x: Tensor) -> None:
        side = self.config.image_size
        expected = (self.config.channels, side, side)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected:
            raise ValueError(f"images are {tuple(x.shape)}, expected (batch, *{expected})")
