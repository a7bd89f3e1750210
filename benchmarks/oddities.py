"""Images that are no avatars of the data set, to see which scores notice: levels (N, 3, H, W)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dicebear import Avatar, Style
from torch import Tensor
from torch.nn.functional import conv2d, pad

from glow import Glow, quantize, to_levels, to_pixels
from stages.params import FolderParams
from stages.sources.avatars import FACE_CENTER, OPTIONS, drawn
from stages.sources.folder import FolderSource
from stages.sources.source import Pixels

TILES = "tiles of photographs"  # whose terms are the user's to know: counted, never shown
ZOOM = 1.3  # of the default data set
UNSEEN: dict[str, dict[str, Any]] = {
    "no hair": {"topProbability": 0},
    "no hair, glasses, beard": {
        "topProbability": 0,
        "accessoriesProbability": 0,
        "facialHairProbability": 0,
    },
    "unseen hair": {"topVariant": ["hijab", "turban", "bun", "froBand", "winterHat04"]},
    "unseen eyes": {"eyesVariant": ["hearts", "cry", "xDizzy", "eyeRoll"]},
    "unseen mouths": {"mouthVariant": ["eating", "grimace", "screamOpen", "vomit"]},
}
STYLES = ("avataaars-neutral", "toon-head", "personas", "pixel-art", "bottts", "identicon")


@dataclass(frozen=True)
class Oddities:
    """Sets of n images each, of the size and bits of a model.

    Args:
        glow: the model.
        test: levels of held-out avatars, (M, 3, H, W), uint8, M at least n.
        n: images per set.
        seed: of what is drawn.
        photographs: a folder of them, to be cut into tiles; none without.
    """

    glow: Glow
    test: Tensor
    n: int
    seed: int
    photographs: Path | None

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Names and levels, set by set."""
        for name, options in UNSEEN.items():
            yield f"same style, {name}", self._drawn("avataaars", {**OPTIONS, **options}, ZOOM)
        for style in STYLES:
            yield f"style {style}", self._drawn(style, {}, 1.0)
        if self.photographs is not None:
            tiles = tiles_of(self.photographs, self._size, self.n, self.seed)
            yield TILES, stacked(tiles, self._bits)
        pixels = to_pixels(self.test[: self.n], self._bits).float() + 2 ** (7 - self._bits)
        for deviation in (2, 4, 8):
            noise = deviation * torch.randn(pixels.shape, generator=self._generator())
            yield f"noise, sd {deviation} of 255", as_levels(pixels + noise, self._bits)
        for deviation in (0.5, 1.0):
            yield f"blur, sd {deviation} pixels", as_levels(blurred(pixels, deviation), self._bits)
        for side in (4, 8):
            yield (
                f"grey square of {side} pixels",
                as_levels(self._occluded(pixels, side), self._bits),
            )
        yield "mirrored", self.test[: self.n].flip(3)
        for temperature in (0.5, 0.7):
            drawn = self.glow.sample(self.n, temperature=temperature, generator=self._generator())
            yield f"the model's samples, T {temperature}", quantize(drawn, self._bits)

    @property
    def _bits(self) -> int:
        return self.glow.config.n_bits

    @property
    def _size(self) -> int:
        return self.glow.config.image_size

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def _drawn(self, style: str, options: dict[str, Any], zoom: float) -> Tensor:
        """Faces as the avatars source draws them."""
        text = files("dicebear_styles").joinpath(f"{style}.json").read_text("utf-8")
        definition = Style(json.loads(text))
        center = FACE_CENTER if zoom > 1 else (0.5, 0.5)
        pictures = [
            drawn(
                Avatar(definition, {**options, "seed": f"{self.seed}/odd-{number}"}),
                self._size,
                zoom,
                center,
            )
            for number in range(self.n)
        ]
        return stacked(pictures, self._bits)

    def _occluded(self, pixels: Tensor, side: int) -> Tensor:
        """A square anywhere, (128, 128, 128)."""
        pixels, room = pixels.clone(), pixels.shape[-1] - side + 1
        corners = torch.randint(room, (len(pixels), 2), generator=self._generator())
        for image, (top, left) in zip(pixels, corners.tolist(), strict=True):
            image[:, top : top + side, left : left + side] = 128
        return pixels


def as_levels(pixels: Tensor, n_bits: int) -> Tensor:
    """Numbers around 0 to 255, as levels."""
    return to_levels(pixels.round().clamp(0, 255).to(torch.uint8), n_bits)


def stacked(pictures: Sequence[Pixels], n_bits: int) -> Tensor:
    """Pictures (H, W, 3) as levels (N, 3, H, W)."""
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return to_levels(pixels.contiguous(), n_bits)


def tiles_of(photographs: Path, size: int, n: int, seed: int) -> list[Pixels]:
    """N at most, drawn from all, at half of the photographs' size."""
    tiles = FolderParams(
        path=str(photographs),
        attributes=None,
        splits=None,
        crop="tiles",
        tile_size=size,
        tile_scale=0.5,
    )
    source = FolderSource(tiles, size)
    entries = source.entries()
    drawn_by = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(entries), generator=drawn_by)[:n].tolist()
    return [source.read(entries[index]).pixels for index in sorted(chosen)]


def blurred(pixels: Tensor, deviation: float) -> Tensor:
    """A Gaussian of this standard deviation, edges repeated."""
    reach = max(1, round(3 * deviation))
    offsets = torch.arange(-reach, reach + 1).float()
    kernel = torch.softmax(-offsets.square() / (2 * deviation**2), dim=0)
    kernels = kernel.expand(3, 1, 1, -1)
    x = pad(pixels, (reach,) * 4, mode="replicate")
    x = conv2d(x, kernels, groups=3)
    return conv2d(x, kernels.transpose(2, 3), groups=3)
