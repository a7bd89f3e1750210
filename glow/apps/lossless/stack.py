"""A stack of bits to push symbols on and pop them from: bits back by ANS.

Popping from a stack of random bits draws a symbol from its distribution; pushing that symbol
again puts the very bits back. So a coder that pops its noise and pushes its results pays for the
difference alone (Townsend et al. 2019, 'Practical lossless compression with latent variables
using bits back coding'). The entropy coder is constriction's (Bamler 2022).
"""

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

AnsCoder = constriction.stream.stack.AnsCoder
Uniform = constriction.stream.model.Uniform
QuantizedGaussian = constriction.stream.model.QuantizedGaussian

Integers = NDArray[np.int64]

WORD_BITS = 32
# Of a normal number; no bin costs more than constriction's smallest probability, so outliers
# beyond five standard deviations cost less than the density says, and never more.
MAX_BIN_BITS = 24
NORMAL_BITS = 5  # a bin of the normal distribution is 2^-5 wide; less is lost than 1e-4 bits
NORMAL_REACH = 16  # standard deviations; farther ones cost an escape
ESCAPE_BITS = 12
ESCAPES = 4


class Stack:
    """Symbols in, symbols out, last in, first out.

    Args:
        words: uint32, what lies on the stack at first; the last one is not 0.

    Attributes:
        lowest: the fewest words that lay on it so far; those below were never touched.
    """

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self._coder = AnsCoder(words)
        self.lowest = self.n_words

    @property
    def n_words(self) -> int:
        """32-bit words on the stack."""
        return int(self._coder.num_words())

    def words(self) -> NDArray[np.uint32]:
        """All that lies on the stack."""
        return np.asarray(self._coder.get_compressed())

    def push(self, symbols: Integers, sizes: Integers) -> None:
        """Symbols that are uniform below sizes of 2 to 2^24, any shape."""
        shape = symbols.shape
        flat = np.ascontiguousarray(symbols, np.int32).ravel()
        limits = np.ascontiguousarray(np.broadcast_to(sizes, shape), np.int32).ravel()
        self._coder.encode_reverse(flat, Uniform(), limits)

    def pop(self, sizes: Integers) -> Integers:
        """The symbols that `push` would put back, in the shape of `sizes`."""
        limits = np.ascontiguousarray(sizes, np.int32).ravel()
        symbols = self._coder.decode(Uniform(), limits)
        self.lowest = min(self.lowest, self.n_words)
        return np.asarray(symbols, np.int64).reshape(sizes.shape)

    def push_normal(self, values: Integers, fraction_bits: int) -> None:
        """Values of N(0, 1) in units of 2^-fraction_bits, any shape."""
        low_bits = fraction_bits - NORMAL_BITS
        end = NORMAL_REACH << NORMAL_BITS
        high, low = values >> low_bits, values & ((1 << low_bits) - 1)
        beyond = np.where(high >= end, high - end, np.where(high < -end, -1 - end - high, 0))
        outside = (high >= end) | (high < -end)
        excess = beyond[outside]
        if excess.size and int(excess.max()) >> (ESCAPE_BITS * ESCAPES):
            raise ValueError("a latent is too far from 0 to be coded; the flow is unstable there")
        for index in range(ESCAPES):
            part = (excess >> (ESCAPE_BITS * index)) & ((1 << ESCAPE_BITS) - 1)
            self.push(part, np.full(part.shape, 1 << ESCAPE_BITS))
        self.push(low, np.full(low.shape, 1 << low_bits))
        symbols = np.clip(high, -end - 1, end).astype(np.int32).ravel()
        self._coder.encode_reverse(symbols, _normal(end))

    def pop_normal(self, shape: tuple[int, ...], fraction_bits: int) -> Integers:
        """What `push_normal` pushed."""
        low_bits = fraction_bits - NORMAL_BITS
        end = NORMAL_REACH << NORMAL_BITS
        count = int(np.prod(shape))
        high = np.asarray(self._coder.decode(_normal(end), count), np.int64).reshape(shape)
        self.lowest = min(self.lowest, self.n_words)
        low = self.pop(np.full(shape, 1 << low_bits))
        above, below = high == end, high == -end - 1
        outside = above | below
        excess = np.zeros(int(outside.sum()), np.int64)
        for index in reversed(range(ESCAPES)):
            excess |= self.pop(np.full(excess.shape, 1 << ESCAPE_BITS)) << (ESCAPE_BITS * index)
        beyond = np.zeros(shape, np.int64)
        beyond[outside] = excess
        high = np.where(above, end + beyond, np.where(below, -1 - end - beyond, high))
        return (high << low_bits) + low


def _normal(end: int) -> Any:  # noqa: ANN401 - constriction has no types
    """Bins [j, j + 1) of 2^-NORMAL_BITS, j from -end - 1 to end: its ends stand for all beyond."""
    return QuantizedGaussian(-end - 1, end, -0.5, float(1 << NORMAL_BITS))
