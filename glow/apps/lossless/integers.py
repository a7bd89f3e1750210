"""Shifts, scales and matrices on integers that are undone exactly, at the cost of their log-det.

Numbers are int64 in units of 2^-fraction_bits. A scale does not map integers to integers one to
one; what it squeezes together goes onto the stack, what it pulls apart is filled from it, after
the modular scale transform of iFlow (Zhang et al. 2021, section 3.2).
"""

import numpy as np
from numpy.typing import NDArray

from glow.apps.lossless.stack import Integers, Stack

Floats = NDArray[np.float64]

SCALE_BITS = 12  # a scale is a quotient of integers up to 2^12
COEFFICIENT_BITS = 20  # of a matrix, after the point
EXACT = 2.0**53  # integers below it are exact in float64
MAX_SHIFT = 20
LIMIT = 1 << 46


def rounded(values: Floats, fraction_bits: int) -> Integers:
    """Floats to integers of 2^-fraction_bits.

    Raises:
        ValueError: a value is not finite or too large for the arithmetic to be exact.
    """
    scaled = np.rint(values * 2.0**fraction_bits)
    if not bool(np.isfinite(scaled).all()) or float(np.abs(scaled).max(initial=0)) > LIMIT:
        raise ValueError("the flow is not finite, or its numbers are too large to be coded")
    return scaled.astype(np.int64)


def scale(stack: Stack, x: Integers, by: Floats) -> Integers:
    """X * by, rounded by what the stack holds; changes its length by -log2(by) bits each."""
    numerator, shift = _quotient(by, x.shape)
    y = x * numerator + stack.pop(numerator)
    stack.push(y & ((1 << SCALE_BITS) - 1), np.full(x.shape, 1 << SCALE_BITS))
    z = y >> SCALE_BITS
    up, down = shift > 0, shift < 0
    z[up] = (z[up] << shift[up]) + stack.pop(1 << shift[up])
    stack.push(z[down] & ((1 << -shift[down]) - 1), 1 << -shift[down])
    z[down] >>= -shift[down]
    return _checked(z)


def unscale(stack: Stack, z: Integers, by: Floats) -> Integers:
    """The x that `scale` was given; the stack is as before it."""
    numerator, shift = _quotient(by, z.shape)
    z = z.copy()
    up, down = shift > 0, shift < 0
    z[down] = (z[down] << -shift[down]) + stack.pop(1 << -shift[down])
    stack.push(z[up] & ((1 << shift[up]) - 1), 1 << shift[up])
    z[up] >>= shift[up]
    y = (z << SCALE_BITS) + stack.pop(np.full(z.shape, 1 << SCALE_BITS))
    x = y // numerator
    stack.push(y - x * numerator, numerator)
    return x


class TriangularPair:
    """z = (I + L)(I + U) x at every pixel, L strictly lower and U strictly upper, (C, C)."""

    def __init__(self, lower: Floats, upper: Floats) -> None:
        self.lower = rounded(lower, COEFFICIENT_BITS).astype(np.float64)
        self.upper = rounded(upper, COEFFICIENT_BITS).astype(np.float64)

    def forward(self, x: Integers) -> Integers:
        """X (B, C, H, W) to z."""
        x = x + _times(self.upper, x)
        return _checked(x + _times(self.lower, x))

    def inverse(self, z: Integers) -> Integers:
        """Row by row, each from rows that are known already."""
        z = z.copy()
        channels = z.shape[1]
        for row in range(1, channels):
            z[:, row] -= _times(self.lower[row : row + 1, :row], z[:, :row])[:, 0]
        for row in reversed(range(channels - 1)):
            z[:, row] -= _times(self.upper[row : row + 1, row + 1 :], z[:, row + 1 :])[:, 0]
        return z


def _times(coefficients: Floats, x: Integers) -> Integers:
    """Coefficients (R, C) times x (B, C, H, W), rounded, (B, R, H, W); every sum is exact."""
    bound = np.abs(coefficients).sum(axis=1).max(initial=0) * np.abs(x).max(initial=0)
    if bound >= EXACT:
        raise ValueError("a matrix of the flow is too large for its sums to be exact")
    sums = np.matmul(coefficients, x.reshape(*x.shape[:2], -1).astype(np.float64))
    halves = sums.astype(np.int64) + (1 << (COEFFICIENT_BITS - 1))
    return (halves >> COEFFICIENT_BITS).reshape(len(x), len(coefficients), *x.shape[2:])


def _quotient(by: Floats, shape: tuple[int, ...]) -> tuple[Integers, Integers]:
    """Numerator and shift with by = numerator / 2^SCALE_BITS * 2^shift, the former 2^9 to 2^12."""
    mantissa, exponent = np.frexp(np.broadcast_to(by, shape))
    if not bool(np.isfinite(mantissa).all()) or int(np.abs(exponent).max(initial=0)) > MAX_SHIFT:
        raise ValueError("a scale of the flow is not finite or too far from 1 to be coded")
    near = (exponent <= 0) & (exponent > -2)
    fraction = np.where(near, np.ldexp(mantissa, exponent), mantissa)
    numerator = np.maximum(np.rint(fraction * (1 << SCALE_BITS)), 2)
    return numerator.astype(np.int64), np.where(near, 0, exponent).astype(np.int64)


def _checked(z: Integers) -> Integers:
    if int(np.abs(z).max(initial=0)) > LIMIT:
        raise ValueError("the numbers of the flow grow too large to be coded")
    return z
