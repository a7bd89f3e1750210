"""Flips and shifts: no pixel that was not there, none too far, the same on any ranks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from glow.augment import Augmentation, Moves

any_seed = given(seed=st.integers(0, 2**32 - 1), step=st.integers(0, 10**6))


def images(count: int = 12, side: int = 10) -> Tensor:
    """Levels of which no two in an image and channel are alike."""
    generator = torch.Generator().manual_seed(0)
    pixels = [torch.randperm(side * side, generator=generator) for _ in range(3 * count)]
    return torch.stack(pixels).to(torch.uint8).view(count, 3, side, side)


def moved_by_hand(image: Tensor, *, flip: bool, down: int, right: int) -> Tensor:
    """By Python loops: (C, H, W)."""
    _, height, width = image.shape
    image = image.flip(2) if flip else image
    result = torch.empty_like(image)
    for i in range(height):
        for j in range(width):
            row, column = min(max(i - down, 0), height - 1), min(max(j - right, 0), width - 1)
            result[:, i, j] = image[:, row, column]
    return result


@any_seed
def test_moves_are_what_a_loop_over_the_pixels_finds(seed: int, step: int) -> None:
    levels = images(3)
    moves = Augmentation(flip=True, shift=0.3).moves(3, 10, seed=seed, step=step)
    expected = [
        moved_by_hand(image, flip=bool(flip), down=int(down), right=int(right))
        for image, flip, (down, right) in zip(levels, moves.flips, moves.shifts, strict=True)
    ]
    assert torch.equal(moves(levels), torch.stack(expected))


@pytest.mark.parametrize(("shift", "furthest"), [(0.0, 0), (0.1, 3), (0.124, 3), (0.125, 4)])
def test_shifts_reach_their_bound_both_ways_and_no_further(shift: float, furthest: int) -> None:
    shifts = Augmentation(shift=shift).moves(4096, 32, seed=0, step=0).shifts
    assert shifts.unique().tolist() == list(range(-furthest, furthest + 1))


def test_half_of_the_images_are_mirrored() -> None:
    flips = Augmentation(flip=True).moves(4096, 32, seed=0, step=0).flips
    assert float(flips.double().mean()) == pytest.approx(0.5, abs=0.03)


@any_seed
def test_without_flip_and_shift_nothing_moves(seed: int, step: int) -> None:
    assert Augmentation().does_nothing
    moves = Augmentation().moves(12, 10, seed=seed, step=step)
    assert torch.equal(moves(images()), images())


def test_a_flip_undoes_itself() -> None:
    mirrored = Moves(torch.ones(12, dtype=torch.bool), torch.zeros(12, 2, dtype=torch.int64))
    assert torch.equal(mirrored(images()), images().flip(3))
    assert torch.equal(mirrored(mirrored(images())), images())


@pytest.mark.parametrize("ranks", [1, 2, 3])
@any_seed
def test_every_rank_moves_its_part_as_one_process_would(ranks: int, seed: int, step: int) -> None:
    augmentation = Augmentation(flip=True, shift=0.2)
    whole = augmentation.moves(12, 10, seed=seed, step=step)(images())
    part = 12 // ranks
    parts = [slice(rank * part, (rank + 1) * part) for rank in range(ranks)]
    drawn = [augmentation.moves(12, 10, seed=seed, step=step) for _ in parts]
    together = [moves[mine](images()[mine]) for moves, mine in zip(drawn, parts, strict=True)]
    assert torch.equal(torch.cat(together), whole)


def test_steps_and_seeds_move_differently() -> None:
    augmentation = Augmentation(flip=True, shift=0.2)
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    drawn = [augmentation.moves(64, 32, seed=seed, step=step) for seed, step in pairs]
    assert len({tuple(moves.shifts.flatten().tolist()) for moves in drawn}) == len(pairs)
