"""Paths through the latents: from image to image, over several, and between four corners.

Level by level, with t from 0 to 1. A standard normal z of n numbers has a norm of about sqrt(n);
the middle of a straight line between two of them is shorter, like samples of a lower temperature.
The other two kinds do not cut that corner.
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from glow.latents import Latents

Kind = Literal["linear", "spherical", "norm"]

SMALLEST = 1e-6  # radians from where two directions are taken for the same or for opposites


def path(start: Latents, end: Latents, steps: int, kind: Kind = "linear") -> Latents:
    """From one image's latents a to another's b, both included.

    - linear: (1 - t) a + t b (Glow, Figure 5).
    - spherical: sin((1 - t) w) / sin w a + sin(t w) / sin w b, w the angle between a and b
      (Shoemake 1985; White 2016): turns at constant speed; latents of equal norm keep it. Where
      they are parallel it is the line.
    - norm: the line, scaled to the norm (1 - t) |a| + t |b| (Fadel et al. 2021). Where the line
      passes through zero, it does, too.

    Args:
        start: latents of one image, (1, C, H, W) per level.
        end: likewise.
        steps: images on the path, at least 2.
        kind: of the path.

    Returns:
        Latents of `steps` images.
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}, expected at least 2, for the two ends")
    along = {"linear": _linear, "spherical": _spherical, "norm": _norm}[kind]
    t = torch.linspace(0.0, 1.0, steps, dtype=torch.float64)[:, None]

    def of_level(a: Tensor, b: Tensor) -> Tensor:
        flat = along(a.flatten(1).double(), b.flatten(1).double(), t.to(a.device))
        return flat.to(a).reshape(steps, *a.shape[1:])

    return Latents([of_level(a, b) for a, b in zip(start, end, strict=True)])


def legs(
    stops: Latents, steps: int, kind: Kind = "linear", *, closed: bool = False
) -> list[Latents]:
    """The path from each image to the next, and from the last to the first if closed."""
    ends = _singles(stops)
    if closed:
        ends.append(ends[0])
    return [path(a, b, steps, kind) for a, b in pairwise(ends)]


def walk(stops: Latents, steps: int, kind: Kind = "linear", *, closed: bool = False) -> Latents:
    """The paths from each image to the next, where they meet once.

    Args:
        stops: latents of N images, at least 2.
        steps: images on each path, both its ends included.
        kind: of the paths.
        closed: whether it goes on to the first image, which is not repeated at the end.

    Returns:
        Latents of (N - 1) (steps - 1) + 1 images, or N (steps - 1) of a closed walk.
    """
    parts = [leg.images(slice(0, steps - 1)) for leg in legs(stops, steps, kind, closed=closed)]
    last = stops.images(slice(len(stops[0]) - 1, None))
    return joined(parts if closed else [*parts, last])


def between_corners(corners: Latents, rows: int, columns: int, kind: Kind = "linear") -> Latents:
    """A grid whose corners are four images: paths down its sides, and across between these.

    Args:
        corners: latents of the top left, top right, bottom left and bottom right image.
        rows: at least 2.
        columns: at least 2.
        kind: of the paths.

    Returns:
        Latents of rows x columns images, row by row; linear ones are the bilinear blend.
    """
    top_left, top_right, bottom_left, bottom_right = _singles(corners)
    left = path(top_left, bottom_left, rows, kind)
    right = path(top_right, bottom_right, rows, kind)
    across = zip(_singles(left), _singles(right), strict=True)
    return joined([path(a, b, columns, kind) for a, b in across])


def joined(parts: list[Latents]) -> Latents:
    """The latents of all images of these, in their order."""
    return Latents([torch.cat(levels) for levels in zip(*parts, strict=True)])


def _linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    return (1 - t) * a + t * b


def _spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    norms = (a.norm() * b.norm()).clamp(min=torch.finfo(a.dtype).tiny)
    angle = ((a * b).sum() / norms).clamp(-1.0, 1.0).arccos()
    if angle.sin() < SMALLEST:
        return _linear(a, b, t)
    return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()


def _norm(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    line = _linear(a, b, t)
    wanted = (1 - t) * a.norm() + t * b.norm()
    return line * (wanted / line.norm(dim=1, keepdim=True).clamp(min=SMALLEST))


def _singles(latents: Latents) -> list[Latents]:
    return [latents.images(slice(i, i + 1)) for i in range(len(latents[0]))]
