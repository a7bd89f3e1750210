"""A trained Glow on integers: images go onto the stack and come back, bit for bit."""

import numpy as np
import torch
from torch import Tensor

from glow import Glow
from glow.apps.lossless.integers import Floats, TriangularPair, rounded, scale, unscale
from glow.apps.lossless.stack import Integers, Stack
from glow.bijection import Bijection
from glow.coupling import AdditiveCoupling, AffineCoupling, shift_and_log_scale
from glow.level import Level
from glow.permutation import InvertibleConv1x1LU
from glow.step import FlowStep

NOISE_BITS = 10  # of the dequantisation noise, below a level


class IntegerFlow:
    """Codes batches of levels with the density of a Glow.

    The networks inside the couplings are evaluated in float32 on the same numbers in both
    directions, so both must run on the same machine with the same torch, threads and batches.

    Raises:
        ValueError: the model has layers that this cannot code.
    """

    def __init__(self, glow: Glow) -> None:
        config = glow.config
        if config.classes or config.checkerboard_depth or config.normalization != "actnorm":
            raise ValueError(
                "this model cannot code images: expected normalization actnorm, no checkerboard "
                "masks and no classes"
            )
        self.config = config
        self.fraction_bits = config.n_bits + NOISE_BITS
        self.top = glow.top
        levels: list[Level] = list(glow.levels)  # type: ignore[arg-type]  # a ModuleList of Level
        self.levels = [
            (level, [_IntegerStep(step, self.fraction_bits) for step in _steps(level)])
            for level in levels
        ]

    @torch.inference_mode()
    def push(self, stack: Stack, levels: Integers) -> None:
        """Puts images (B, C, H, W) of levels onto the stack; costs -log p(x) and their noise."""
        noise = stack.pop(np.full(levels.shape, 1 << NOISE_BITS))
        x = (levels << NOISE_BITS) + noise - (1 << (self.fraction_bits - 1))
        for level, steps in self.levels:
            x = _squeezed(x)
            for step in steps:
                x = step.forward(stack, x)
            if level.split is not None:
                x, leaving = np.split(x, 2, axis=1)
                self._push_latents(
                    stack, leaving, level.split.prior.mean_and_log_std(self._real(x))
                )
        self._push_latents(stack, x, self.top.mean_and_log_std(self._real(x), None))

    @torch.inference_mode()
    def pop(self, stack: Stack, n: int) -> Integers:
        """The n images that `push` put there, and the stack as before."""
        channels, side, _ = self.config.latent_shapes[-1]
        empty = torch.zeros(n, channels, side, side)
        x = self._pop_latents(stack, self.top.mean_and_log_std(empty, None))
        for level, steps in reversed(self.levels):
            if level.split is not None:
                prior = level.split.prior.mean_and_log_std(self._real(x))
                x = np.concatenate((x, self._pop_latents(stack, prior)), axis=1)
            for step in reversed(steps):
                x = step.inverse(stack, x)
            x = _unsqueezed(x)
        x = x + (1 << (self.fraction_bits - 1))
        levels = x >> NOISE_BITS
        stack.push(x & ((1 << NOISE_BITS) - 1), np.full(x.shape, 1 << NOISE_BITS))
        return levels

    def _push_latents(self, stack: Stack, z: Integers, prior: tuple[Tensor, Tensor]) -> None:
        mean, log_std = (_floats(part) for part in prior)
        eps = scale(stack, z - rounded(mean, self.fraction_bits), np.exp(-log_std))
        stack.push_normal(eps, self.fraction_bits)

    def _pop_latents(self, stack: Stack, prior: tuple[Tensor, Tensor]) -> Integers:
        mean, log_std = (_floats(part) for part in prior)
        eps = stack.pop_normal(mean.shape, self.fraction_bits)
        return unscale(stack, eps, np.exp(-log_std)) + rounded(mean, self.fraction_bits)

    def _real(self, x: Integers) -> Tensor:
        return torch.from_numpy(x.astype(np.float64) * 2.0**-self.fraction_bits).float()


class _IntegerStep:
    """ActNorm, permutation and coupling: W s (x + b) = P L U s (x + b) as bias, scale, matrices.

    With d the diagonal of U, U s = (U / d) (d s), so all channels are scaled first and the unit
    triangular factors of U and L follow, exact on integers in themselves.
    """

    def __init__(self, step: FlowStep, fraction_bits: int) -> None:
        self.fraction_bits = fraction_bits
        rotation, lower, upper = _factors(step)
        diagonal = np.diagonal(upper)
        actnorm = step.actnorm
        self.bias = rounded(_floats(actnorm.bias), fraction_bits)[:, None, None]
        scales = diagonal * np.exp(_floats(actnorm.log_scale))
        self.scale = np.abs(scales)[:, None, None]
        self.sign = np.where(scales < 0, -1, 1)[:, None, None]
        self.matrices = TriangularPair(np.tril(lower, -1), np.triu(upper / diagonal, 1))
        self.order = rotation.argmax(axis=1)
        self.coupling = step.coupling

    def forward(self, stack: Stack, x: Integers) -> Integers:
        y = self.sign * scale(stack, x + self.bias, self.scale)
        y = self.matrices.forward(y)[:, self.order]
        seen, changed = _halves(y)
        shift, by = self._shift_and_scale(seen)
        changed = changed + shift
        return np.concatenate((seen, changed if by is None else scale(stack, changed, by)), axis=1)

    def inverse(self, stack: Stack, z: Integers) -> Integers:
        seen, changed = _halves(z)
        shift, by = self._shift_and_scale(seen)
        changed = (changed if by is None else unscale(stack, changed, by)) - shift
        y = np.concatenate((seen, changed), axis=1)[:, np.argsort(self.order)]
        y = self.sign * self.matrices.inverse(y)
        return unscale(stack, y, self.scale) - self.bias

    def _shift_and_scale(self, seen: Integers) -> tuple[Integers, Floats | None]:
        h = self.coupling.conditioner(
            torch.from_numpy(seen.astype(np.float64) * 2.0**-self.fraction_bits).float()
        )
        if isinstance(self.coupling, AdditiveCoupling):
            return rounded(_floats(h), self.fraction_bits), None
        assert isinstance(self.coupling, AffineCoupling)
        shift, log_scale = shift_and_log_scale(h, self.coupling.min_scale)
        return rounded(_floats(shift), self.fraction_bits), np.exp(_floats(log_scale))


def _factors(step: FlowStep) -> tuple[Floats, Floats, Floats]:
    """P, L and U of the step's matrix, float64."""
    permutation = step.permutation
    if isinstance(permutation, InvertibleConv1x1LU):
        upper = permutation.upper.double().triu(1)
        upper = (
            upper + (permutation.sign.double() * permutation.log_diagonal.double().exp()).diag()
        )
        return tuple(_floats(part) for part in (permutation.rotation, permutation.lower, upper))  # type: ignore[return-value]  # three
    factors = torch.linalg.lu(permutation.matrix().double())
    return tuple(_floats(part) for part in factors)  # type: ignore[return-value]  # three


def _steps(level: Level) -> list[FlowStep]:
    steps: list[Bijection] = list(level.steps.bijections)  # type: ignore[arg-type]  # a ModuleList of Bijection
    return [step for step in steps if isinstance(step, FlowStep)]


def _halves(x: Integers) -> tuple[Integers, Integers]:
    half = x.shape[1] // 2
    return x[:, :half], x[:, half:]


def _floats(x: Tensor) -> Floats:
    return x.detach().double().numpy()


def _squeezed(x: Integers) -> Integers:
    n, c, h, w = x.shape
    return (
        x.reshape(n, c, h // 2, 2, w // 2, 2)
        .transpose(0, 1, 3, 5, 2, 4)
        .reshape(n, 4 * c, h // 2, w // 2)
    )


def _unsqueezed(x: Integers) -> Integers:
    n, c, h, w = x.shape
    return (
        x.reshape(n, c // 4, 2, 2, h, w)
        .transpose(0, 1, 4, 2, 5, 3)
        .reshape(n, c // 4, 2 * h, 2 * w)
    )
