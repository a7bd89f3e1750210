"""PNG files to levels and back."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from glow import GlowConfig, to_levels, to_pixels
from glow.apps.lossless.codec import Levels


def find_images(paths: Sequence[Path]) -> list[Path]:
    """PNG files, and those in folders, sorted.

    Raises:
        ValueError: there are none, or two have the same name.
    """
    found: list[Path] = []
    for path in paths:
        found += sorted(path.glob("*.png")) if path.is_dir() else [path]
    if not found:
        raise ValueError(f"no PNG in {', '.join(str(path) for path in paths)}")
    names = [path.name for path in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several images are named {twice[0]}, expected different names")
    return found


def read_levels(files: Sequence[Path], config: GlowConfig, *, quantize: bool) -> Levels:
    """Levels (N, C, H, W), uint8, of RGB images of the model's size.

    Args:
        files: of images.
        config: of the model.
        quantize: whether bits below the model's may be lost.

    Raises:
        ValueError: a file is no image, has another size, or bits that would be lost.
    """
    side = config.image_size
    levels = np.empty((len(files), config.channels, side, side), np.uint8)
    for index, file in enumerate(files):
        try:
            with Image.open(file) as image:
                if image.size != (side, side) or image.mode != "RGB":
                    raise ValueError(
                        f"{file} is {image.width}x{image.height} {image.mode}, "
                        f"expected {side}x{side} RGB, as the model's images are"
                    )
                pixels = np.asarray(image)
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise ValueError(f"{file} is no readable image: {error}") from None
        kept = to_levels(pixels, config.n_bits)
        if not quantize and not np.array_equal(to_pixels(kept, config.n_bits), pixels):
            raise ValueError(
                f"{file} has 8 bits, the model {config.n_bits}; --quantize drops the lower ones"
            )
        levels[index] = kept.transpose(2, 0, 1)
    return levels


def write_images(folder: Path, names: Sequence[str], levels: Levels, n_bits: int) -> None:
    """A PNG per image."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(names, to_pixels(levels, n_bits), strict=True):
        Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(folder / name)
