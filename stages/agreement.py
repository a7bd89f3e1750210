"""Do two images show the same photograph? The one is laid upon the other, and edges compared.

How far it has to be moved and scaled along each axis is found by Lucas and Kanade's method, first
in what is coarse, then in what is finer. Then edges across and edges along have to agree, each by
themselves: two ships on the sea share a horizon, and nothing that stands on it. Brightness,
contrast and color do not matter, nor what is within an eighth of the border.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Scale(NamedTuple):
    """What is compared at a step: differences of two Gaussian blurs.

    Attributes:
        shrunk: the side is divided by it.
        fine: sigma of the lesser blur, in pixels of what is left.
        coarse: sigma of the greater blur.
    """

    shrunk: int
    fine: float
    coarse: float


COARSE, FINE = Scale(2, 0.75, 2.0), Scale(1, 0.7, 3.0)
STEPS = 6  # of Lucas and Kanade's method, at each scale
BORDER = 8  # of the side is no part of what is compared: what is cut off there
LEAST_SCALE, MOST_SCALE, MOST_SHIFT = 0.7, 1.4, 0.35  # shift in halves of a side
PROMISING = 0.85  # correlation at the coarse scale, from which the fine one is looked at
EDGE_BLUR = 0.6  # pixels
NOISE = 1.0  # of 255, in the mean square: edges weaker than that prove nothing
TINY = np.float32(1e-3)


def agreement(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Floats:
    """How well pairs of images agree, 1 for the same; correlations, so 0 is nothing.

    Args:
        first: (N, side, side), gray; the side is even.
        second: the same.

    Returns:
        (N,); 0 where they do not even agree coarsely.
    """
    a, b = first.astype(np.float32), second.astype(np.float32)
    found = np.zeros(len(a), np.float32)
    coarse_a, coarse_b = _band(a, COARSE), _band(b, COARSE)
    place = np.tile(np.array([1, 0, 1, 0], np.float32), (len(a), 1))
    place = _aligned(coarse_a, coarse_b, place)
    coarse = _correlation(_inside(coarse_a), _inside(_warped(coarse_b, place)))
    some = np.flatnonzero(coarse > PROMISING)
    a, b = a[some], b[some]
    place = _aligned(_band(a, FINE), _band(b, FINE), place[some])
    edges = zip(_edges(a), _edges(_warped(b, place)), strict=True)
    found[some] = np.minimum(*(_correlation(_inside(x), _inside(y)) for x, y in edges))
    return found


def _aligned(a: Floats, b: Floats, place: Floats) -> Floats:
    """By Lucas and Kanade's method, in its inverse compositional form (Baker, Matthews 2004).

    Args:
        a: (N, side, side), what `b` is laid upon.
        b: the same.
        place: (N, 4), scale and shift along x, and along y, to begin with.

    Returns:
        The place of `b` that `_warped` takes.
    """
    half = (a.shape[-1] - 1) / 2
    along = _positions(a.shape[-1])
    down, right = (_inside(slope) * np.float32(half) for slope in _slopes(a))
    at = along[_within(a.shape[-1])]
    slopes = np.stack([right * at, right, down * at[:, None], down], axis=1)
    slopes = slopes.reshape(len(a), 4, len(at) ** 2)
    square = slopes @ slopes.transpose(0, 2, 1)
    damping = 0.0025 * np.trace(square, axis1=1, axis2=2) + TINY
    solve = np.linalg.inv(square + damping[:, None, None] * np.eye(4, dtype=np.float32))
    wanted = _inside(a).reshape(len(a), len(at) ** 2)
    for _ in range(STEPS):
        has = _inside(_warped(b, place)).reshape(len(a), len(at) ** 2)
        gain = (wanted * has).sum(axis=1) / ((has * has).sum(axis=1) + TINY)
        error = np.maximum(0, gain)[:, None] * has - wanted
        step = (solve @ (slopes @ error[:, :, None]))[:, :, 0]
        scale = place[:, 0::2] / (1 + step[:, 0::2])
        shift = place[:, 1::2] - scale * step[:, 1::2]
        np.clip(scale, LEAST_SCALE, MOST_SCALE, out=place[:, 0::2])
        np.clip(shift, -MOST_SHIFT, MOST_SHIFT, out=place[:, 1::2])
    return place


def _warped(images: Floats, place: Floats) -> Floats:
    """Images scaled and moved along each axis, between pixels linearly."""
    along_x, along_y = (_resampling(images.shape[-1], place[:, k : k + 2]) for k in (0, 2))
    found: Floats = np.matmul(np.matmul(along_y, images), along_x.transpose(0, 2, 1))
    return found


def _resampling(side: int, place: Floats) -> Floats:
    """(N, side, side): the matrices that scale and move lines of an image."""
    half = (side - 1) / 2
    at = np.clip((place[:, :1] * _positions(side) + place[:, 1:]) * half + half, 0, side - 1)
    found: Floats = np.maximum(0, 1 - np.abs(at[:, :, None] - np.arange(side, dtype=np.float32)))
    return found


def _band(images: Floats, scale: Scale) -> Floats:
    side = images.shape[-1] // scale.shrunk
    blocks = images.reshape(len(images), side, scale.shrunk, side, scale.shrunk)
    small = blocks.mean(axis=(2, 4))
    return _blurred(small, scale.fine) - _blurred(small, scale.coarse)


def _edges(images: Floats) -> list[Floats]:
    return _slopes(_blurred(images, EDGE_BLUR))


def _slopes(images: Floats) -> list[Floats]:
    """Along y, and along x."""
    return [np.asarray(slope, np.float32) for slope in np.gradient(images, axis=(1, 2))]


def _blurred(images: Floats, sigma: float) -> Floats:
    matrix = _blur(images.shape[-1], sigma)
    found: Floats = np.matmul(np.matmul(matrix, images), matrix.T)
    return found


def _correlation(a: Floats, b: Floats) -> Floats:
    least = NOISE * (a.shape[1] * a.shape[2]) ** 0.5
    lengths = [np.maximum(np.sqrt((x * x).sum(axis=(1, 2))), least) for x in (a, b)]
    found: Floats = (a * b).sum(axis=(1, 2)) / (lengths[0] * lengths[1])
    return found


def _inside(images: Floats) -> Floats:
    within = _within(images.shape[-1])
    return images[:, within, within]


def _within(side: int) -> slice:
    return slice(side // BORDER, side - side // BORDER)


@lru_cache
def _positions(side: int) -> Floats:
    found: Floats = np.linspace(-1, 1, side, dtype=np.float32)
    return found


@lru_cache
def _blur(side: int, sigma: float) -> Floats:
    at = np.arange(side)
    weights = np.exp(-(((at[:, None] - at) / sigma) ** 2) / 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
