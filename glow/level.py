"""One scale of the flow: squeeze, `depth` steps, split."""

import torch
from torch import Tensor, nn

from glow.bijection import Bijection
from glow.chain import Chain
from glow.prior import SplitPrior
from glow.squeeze import Squeeze


class Split(nn.Module):
    """The second half of the channels leaves as latents, standardised given the other half."""

    def __init__(self, prior: SplitPrior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The half that stays, eps of the half that leaves, and the log-density of the latter."""
        kept, leaving = x.chunk(2, dim=1)
        eps, log_prob = self.prior(leaving, kept)
        return kept, eps, log_prob

    def inverse(self, kept: Tensor, eps: Tensor) -> Tensor:
        """x, both halves together again."""
        return torch.cat((kept, self.prior.inverse(eps, kept)), dim=1)


class Level(Bijection):
    """Squeeze and the steps of flow (Glow, Figure 2b); its split comes after it.

    Args:
        checkerboard: RealNVP's steps before the squeeze, empty in Glow.
        steps: those after it.
        split: of the output, None at the last level.
    """

    def __init__(self, checkerboard: Chain, steps: Chain, split: Split | None) -> None:
        super().__init__()
        self.checkerboard = checkerboard
        self.squeeze = Squeeze()
        self.steps = steps
        self.split = split

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, 4 C, H / 2, W / 2), not split yet, log_det (B,)."""
        x, before = self.checkerboard(x)
        z, log_det = self.steps(self.squeeze(x)[0])
        return z, before + log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        x, log_det = self.steps.inverse(z)
        x, before = self.checkerboard.inverse(self.squeeze.inverse(x)[0])
        return x, before + log_det

    def restore(self, z: Tensor) -> Tensor:
        """X alone: all that sampling asks for."""
        return self.checkerboard.restore(self.squeeze.inverse(self.steps.restore(z))[0])

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises all steps."""
        return self.steps.initialize(self.squeeze(self.checkerboard.initialize(x))[0])
