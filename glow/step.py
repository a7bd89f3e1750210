"""One step of flow, as the paper writes it; steps.py runs many of them faster."""

from torch import Tensor

from glow.actnorm import ActNorm
from glow.bijection import Bijection
from glow.coupling import Coupling
from glow.permutation import Permutation


class FlowStep(Bijection):
    """ActNorm, permutation, coupling, one after the other (Glow, Figure 2a)."""

    def __init__(self, actnorm: ActNorm, permutation: Permutation, coupling: Coupling) -> None:
        super().__init__()
        self.actnorm = actnorm
        self.permutation = permutation
        self.coupling = coupling

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, C, H, W), log_det (B,)."""
        x, of_actnorm = self.actnorm(x)
        x, of_permutation = self.permutation(x)
        z, of_coupling = self.coupling(x)
        return z, of_actnorm + of_permutation + of_coupling

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, H, W), log_det (B,)."""
        z, of_coupling = self.coupling.inverse(z)
        z, of_permutation = self.permutation.inverse(z)
        x, of_actnorm = self.actnorm.inverse(z)
        return x, of_coupling + of_permutation + of_actnorm

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the three one after the other."""
        x = self.actnorm.initialize(x)
        return self.coupling.initialize(self.permutation(x)[0])
