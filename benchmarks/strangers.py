"""Real images of other kinds than a model was trained on, in its size and bits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from oddities import TILES, ZOOM, as_levels, blurred, stacked, tiles_of
from PIL import Image
from sklearn.datasets import load_digits  # comes with mlflow
from torch import Tensor

from glow import to_levels, to_pixels
from stages.errors import InputError
from stages.params import AvatarsParams
from stages.shards import ShardSet
from stages.sources.avatars import AvatarsSource
from stages.sources.source import Pixels

MARGIN = 16  # of so many parts of the side, one on each side of a digit is black, as in MNIST
BLUR = 1.0  # standard deviation, pixels


@dataclass(frozen=True)
class Strangers:
    """Sets of n images at most each; the scores of a model should tell them from its own.

    Args:
        own: the data set of the model.
        others: other data sets by name, whose test images are used; of as many bits or more.
        n: images per set.
        seed: of what is drawn.
        photographs: a folder of them, to be cut into tiles; none without.
    """

    own: ShardSet
    others: Mapping[str, ShardSet]
    n: int
    seed: int
    photographs: Path | None

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Names and levels (N, 3, H, W), uint8, set by set.

        Raises:
            InputError: another data set has images of another size, or of fewer bits.
        """
        size, bits = self.own.image_size, self.own.n_bits
        if self.photographs is not None:
            yield TILES, stacked(tiles_of(self.photographs, size, self.n, self.seed), bits)
        for name, shards in self.others.items():
            yield f"{name}, test", self._of_other(name, shards)
        yield "avatars", stacked(self._avatars(), bits)
        yield "digits of scikit-learn", stacked(digits(size)[: self.n], bits)
        test = to_pixels(self.own.load("test", self.n)[0], bits).float()
        yield (
            f"its own test images, blurred by {BLUR} pixels",
            as_levels(blurred(test, BLUR), bits),
        )
        for name, channels in (("plain colours", 3), ("plain greys", 1)):
            yield name, to_levels(self._plain(channels), bits)

    def _of_other(self, name: str, shards: ShardSet) -> Tensor:
        size, bits = self.own.image_size, self.own.n_bits
        if shards.image_size != size or shards.n_bits < bits:
            raise InputError(
                f"{shards.folder}: expected images of {name} of {size}x{size} with {bits} bits or "
                f"more, came {shards.image_size}x{shards.image_size} with {shards.n_bits}; "
                "preprocess them anew"
            )
        return to_levels(to_pixels(shards.load("test", self.n)[0], shards.n_bits), bits)

    def _avatars(self) -> list[Pixels]:
        params = AvatarsParams(n_images=self.n, zoom=ZOOM)
        source = AvatarsSource(params, self.own.image_size, self.seed)
        return [source.read(entry).pixels for entry in source.entries()]

    def _plain(self, channels: int) -> Tensor:
        """Each pixel of an image is the same, any of the 8-bit colours or greys."""
        generator, side = torch.Generator().manual_seed(self.seed), self.own.image_size
        colours = torch.randint(256, (self.n, channels, 1, 1), generator=generator)
        return colours.to(torch.uint8).repeat(1, 3 // channels, side, side)


def digits(size: int) -> list[Pixels]:
    """The 1,797 handwritten digits of scikit-learn, white on black, enlarged from 8x8."""
    margin = size // MARGIN
    inner = size - 2 * margin
    pictures = []
    for ink in load_digits().images:
        small = Image.fromarray(np.round(ink * (255 / 16)).astype(np.uint8))
        enlarged = np.asarray(small.resize((inner, inner), Image.Resampling.BICUBIC))
        pictures.append(np.pad(enlarged, margin)[..., None].repeat(3, axis=2))
    return pictures
