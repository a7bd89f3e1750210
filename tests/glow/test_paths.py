"""Paths through the latents keep what their docstrings promise."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import assert_close

from glow import Latents, interpolate
from glow.paths import Kind, between_corners, path, walk

SHAPES = ((2, 2, 2), (4, 1, 1))
KINDS = get_args(Kind)

kinds = st.sampled_from(KINDS)
seeds = st.integers(0, 10_000)
sizes = st.integers(2, 7)
scales = st.floats(0.1, 10.0)


def latents(n: int, seed: int, scale: float = 1.0) -> Latents:
    generator = torch.Generator().manual_seed(seed)
    noise = [torch.randn(n, *shape, generator=generator).double() for shape in SHAPES]
    return Latents(noise) * scale


def ends(seed: int, scale: float = 1.0) -> tuple[Latents, Latents]:
    return latents(1, seed), latents(1, seed + 1, scale)


def norms(some: Latents) -> torch.Tensor:
    """Of each level and image, (levels, images)."""
    return torch.stack([level.flatten(1).norm(dim=1) for level in some])


@given(kinds, seeds, sizes, scales)
@settings(deadline=None, max_examples=50)
def test_a_path_has_its_ends_and_is_the_same_backwards(
    kind: Kind, seed: int, steps: int, scale: float
) -> None:
    a, b = ends(seed, scale)
    there, back = path(a, b, steps, kind), path(b, a, steps, kind)
    assert [len(level) for level in there] == [steps] * len(SHAPES)
    for of_level, backwards, first, last in zip(there, back, a, b, strict=True):
        assert_close(of_level[:1], first, 1e-9)
        assert_close(of_level[-1:], last, 1e-9)
        assert_close(of_level, backwards.flip(0), 1e-9)


@given(seeds, sizes, scales)
@settings(deadline=None, max_examples=50)
def test_the_norm_goes_evenly_from_one_end_to_the_other(
    seed: int, steps: int, scale: float
) -> None:
    a, b = ends(seed, scale)
    t = torch.linspace(0.0, 1.0, steps, dtype=torch.float64)
    assert_close(norms(path(a, b, steps, "norm")), (1 - t) * norms(a) + t * norms(b), 1e-9)


@given(seeds, st.integers(3, 7))
@settings(deadline=None, max_examples=50)
def test_on_a_sphere_the_spherical_path_stays_there_and_turns_evenly(
    seed: int, steps: int
) -> None:
    a, b = (Latents([level / level.norm() for level in end]) for end in ends(seed))
    turning = path(a, b, steps, "spherical")
    assert_close(norms(turning), torch.ones(len(SHAPES), steps).double(), 1e-9)
    for level in turning:
        flat = level.flatten(1)
        cosines = (flat[1:] * flat[:-1]).sum(dim=1)
        assert_close(cosines, cosines[:1].expand(steps - 1), 1e-9)


def test_the_straight_line_is_the_papers_and_cuts_the_corner() -> None:
    a, b = ends(0)
    line = path(a, b, 5, "linear")
    assert_close(line.flatten(), interpolate(a, b, 5).flatten(), 1e-6)
    for kind in ("spherical", "norm"):
        assert bool((norms(path(a, b, 5, kind))[:, 2] > norms(line)[:, 2]).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [1.0, 2.0, 0.0, -1.0])
def test_parallel_opposite_and_zero_ends_make_no_nan(kind: Kind, factor: float) -> None:
    a = latents(1, 0)
    found = path(a, a * factor, 5, kind)
    assert all(bool(level.isfinite().all()) for level in found)
    assert_close(found.flatten()[-1:], (a * factor).flatten(), 1e-9)


@given(kinds, st.integers(2, 4), sizes)
@settings(deadline=None, max_examples=30)
def test_a_walk_meets_every_stop_once(kind: Kind, n: int, steps: int) -> None:
    stops = latents(n, 0)
    open_walk, round_walk = (walk(stops, steps, kind, closed=closed) for closed in (False, True))
    leg = steps - 1
    assert (len(open_walk[0]), len(round_walk[0])) == ((n - 1) * leg + 1, n * leg)
    assert_close(open_walk.flatten()[::leg], stops.flatten(), 1e-9)
    assert_close(round_walk.flatten()[::leg], stops.flatten(), 1e-9)
    last = path(stops.images(slice(n - 1, n)), stops.images(slice(0, 1)), steps, kind)
    assert_close(round_walk.flatten()[-leg:], last.flatten()[:-1], 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_four_corners_are_the_corners_of_the_grid(kind: Kind) -> None:
    corners = latents(4, 0)
    grid = between_corners(corners, 3, 5, kind).flatten().view(3, 5, -1)
    found = torch.stack([grid[0, 0], grid[0, -1], grid[-1, 0], grid[-1, -1]])
    assert_close(found, corners.flatten(), 1e-9)
    if kind == "linear":
        assert_close(grid[1, 2], corners.flatten().mean(dim=0), 1e-9)


def test_a_path_of_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="steps is 1, expected at least 2"):
        path(*ends(0), 1)
