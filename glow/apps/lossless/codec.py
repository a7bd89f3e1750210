"""Images to a file of their net bits and back, verified to be the very same."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from glow import Glow
from glow.apps.lossless.integer_flow import NOISE_BITS, IntegerFlow
from glow.apps.lossless.integers import SCALE_BITS
from glow.apps.lossless.stack import WORD_BITS, Stack

MARGIN = 8  # words of the stack that its coder may hold in its state
MAX_INITIAL_WORDS = 1 << 28

Levels = NDArray[np.uint8]


class WrongImages(RuntimeError):
    """What was decoded is not what was coded: a damaged file, or another machine's arithmetic."""


@dataclass(frozen=True)
class Coded:
    """Coded images, and what it takes to decode them.

    Attributes:
        words: uint32, what was pushed on top of what was never touched.
        n_images: how many.
        batch_size: images that the networks saw at once.
        n_initial: random words that the stack began with.
        n_untouched: of those, the lowest, which are drawn again from the seed and not kept.
        seed: of the random words.
        threads: that torch used.
        digest: blake2b of the levels.
    """

    words: NDArray[np.uint32]
    n_images: int
    batch_size: int
    n_initial: int
    n_untouched: int
    seed: int
    threads: int
    digest: str

    @property
    def net_bits(self) -> int:
        """What the images cost once the initial words are paid for."""
        return WORD_BITS * (len(self.words) + self.n_untouched - self.n_initial)

    @property
    def initial_bits(self) -> int:
        """What was borrowed: noise of the first batch, which later ones take from former ones."""
        return WORD_BITS * (self.n_initial - self.n_untouched)


def code(
    glow: Glow,
    levels: Levels,
    *,
    batch_size: int,
    seed: int = 0,
    advance: Callable[[int], object] = lambda _: None,
) -> Coded:
    """Codes levels (N, C, H, W), uint8.

    Raises:
        ValueError: the model cannot code images, or its numbers are too large for it.
    """
    flow = IntegerFlow(glow)
    per_number = NOISE_BITS + 2 * SCALE_BITS
    batch = min(batch_size, len(levels)) * levels[0].size
    n_initial = batch * per_number // WORD_BITS + 1000
    while True:
        initial = _random_words(seed, n_initial)
        stack = Stack(initial)
        for start in range(0, len(levels), batch_size):
            part = levels[start : start + batch_size]
            flow.push(stack, part.astype(np.int64))
            advance(len(part))
        if stack.lowest > MARGIN:
            break
        n_initial *= 2
        if n_initial > MAX_INITIAL_WORDS:
            raise ValueError("the flow takes more noise than a file can hold; lower batch_size")
    untouched = stack.lowest - MARGIN
    return Coded(
        stack.words()[untouched:],
        len(levels),
        batch_size,
        n_initial,
        untouched,
        seed,
        torch.get_num_threads(),
        digest(levels),
    )


def decode(
    glow: Glow, coded: Coded, *, advance: Callable[[int], object] = lambda _: None
) -> Levels:
    """The levels that `code` was given, (N, C, H, W), uint8.

    Raises:
        WrongImages: they are not, or the stack is not left as it began.
    """
    flow = IntegerFlow(glow)
    initial = _random_words(coded.seed, coded.n_initial)
    stack = Stack(np.concatenate((initial[: coded.n_untouched], coded.words)))
    threads = torch.get_num_threads()
    torch.set_num_threads(coded.threads)
    parts = []
    try:
        for start in reversed(range(0, coded.n_images, coded.batch_size)):
            n = min(coded.batch_size, coded.n_images - start)
            parts.append(flow.pop(stack, n).astype(np.uint8))
            advance(n)
    except ValueError as error:
        raise WrongImages(str(error)) from None
    finally:
        torch.set_num_threads(threads)
    levels = np.concatenate(parts[::-1])
    if digest(levels) != coded.digest or not np.array_equal(stack.words(), initial):
        raise WrongImages("the decoded images are not those that were coded")
    return levels


def digest(levels: Levels) -> str:
    """blake2b of the levels' shape and content."""
    content = np.ascontiguousarray(levels)
    return hashlib.blake2b(str(levels.shape).encode() + content.tobytes()).hexdigest()


def _random_words(seed: int, n: int) -> NDArray[np.uint32]:
    words = np.random.default_rng(seed).integers(0, 1 << 32, n, dtype=np.uint32)
    words[-1] |= 1  # the coder drops zeros from the end
    return words
