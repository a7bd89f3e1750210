"""Images to a file of their net bits and back, verified to be the very same."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from glow import Glow, GlowConfig
from glow.apps.lossless.integer_flow import NOISE_BITS, IntegerFlow
from glow.apps.lossless.integers import SCALE_BITS
from glow.apps.lossless.stack import WORD_BITS, Stack

MARGIN = 8  # words of the stack that its coder may hold in its state
MAX_INITIAL_WORDS = 1 << 28
MAX_THREADS = 64  # or as many as the machine has
MAX_LEVELS_PER_WORD = 4096  # 1/128 of a bit per dimension

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
    n_initial = _first_words(min(batch_size, len(levels)) * levels[0].size)
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
    coded = Coded(
        stack.words()[untouched:],
        len(levels),
        batch_size,
        n_initial,
        untouched,
        seed,
        torch.get_num_threads(),
        digest(levels),
    )
    check(coded, glow.config)  # what is written is read again
    return coded


def decode(
    glow: Glow, coded: Coded, *, advance: Callable[[int], object] = lambda _: None
) -> Levels:
    """The levels that `code` was given, (N, C, H, W), uint8.

    Raises:
        ValueError: no coding with this model says this of itself.
        WrongImages: they are not, or the stack is not left as it began.
    """
    check(coded, glow.config)
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
            if stack.lowest < coded.n_untouched:
                raise ValueError("there are fewer images in it than it says")
            advance(n)
    except ValueError as error:
        raise WrongImages(str(error)) from None
    finally:
        torch.set_num_threads(threads)
    levels = np.concatenate(parts[::-1])
    if digest(levels) != coded.digest or not np.array_equal(stack.words(), initial):
        raise WrongImages("the decoded images are not those that were coded")
    return levels


def check(coded: Coded, config: GlowConfig) -> None:
    """Holds what a coding says of itself against its words and the model, before it is believed.

    So a file takes memory and threads in proportion to its size, whatever its header says.

    Raises:
        ValueError: no coding with this model says so; what is wrong.
    """
    n_words, n_levels = len(coded.words), coded.n_images * config.n_dims
    first = min(coded.batch_size, coded.n_images) * config.n_dims  # levels of the first batch
    borrowed = coded.n_initial - coded.n_untouched
    most_threads = max(MAX_THREADS, os.cpu_count() or 1)
    if coded.threads > most_threads:
        raise ValueError(
            f"it was coded in {coded.threads} threads, expected at most {most_threads} here; "
            "a machine like the one that coded it has as many"
        )
    if n_levels > MAX_LEVELS_PER_WORD * n_words:
        raise ValueError(f"{coded.n_images} images are too many for {4 * n_words} bytes")
    # The first batch took its noise from the initial words. All that was borrowed lies in the
    # words again, on top of what the images cost, which chance may bring a little below nothing.
    if not first * NOISE_BITS // WORD_BITS <= borrowed <= 2 * n_words + MARGIN:
        raise ValueError(f"{borrowed} initial words do not go with {n_words} words in all")
    # The initial words were doubled until they sufficed.
    if coded.n_initial > max(_first_words(first), 4 * borrowed):
        raise ValueError(f"{coded.n_initial} initial words are more than was tried")


def digest(levels: Levels) -> str:
    """blake2b of the levels' shape and content."""
    content = np.ascontiguousarray(levels)
    return hashlib.blake2b(str(levels.shape).encode() + content.tobytes()).hexdigest()


def _first_words(n_levels: int) -> int:
    """The initial words to try first, for a batch of so many levels."""
    return n_levels * (NOISE_BITS + 2 * SCALE_BITS) // WORD_BITS + 1000


def _random_words(seed: int, n: int) -> NDArray[np.uint32]:
    words = np.random.default_rng(seed).integers(0, 1 << 32, n, dtype=np.uint32)
    words[-1] |= 1  # the coder drops zeros from the end
    return words
