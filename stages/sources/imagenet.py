"""Downsampled ImageNet, of which there are two releases that must not be taken for each other.

The one of 2016 (van den Oord et al.) is what likelihoods are reported on, Glow's among them; it is
no longer on ImageNet's site. The one of 2017 (Chrabaszcz et al.) is scaled down by another filter,
which makes it easier: numbers on the two cannot be compared.
"""

import sys
from pathlib import Path

from stages.errors import InputError
from stages.sources.arrays import ArraySource
from stages.sources.imagenet_batches import batch_files, imagenet_2017
from stages.sources.imagenet_pngs import ImagenetPngs, png_files
from stages.sources.source import Source


def imagenet(folder: Path, side: int, image_size: int) -> Source:
    """The reader of the release that lies in the folder, which is said on stderr.

    Raises:
        InputError: neither release is there, or both.
    """
    pngs, batches = png_files(folder, side), batch_files(folder)
    if pngs and batches:
        raise InputError(
            f"{folder}: expected one release of ImageNet {side}x{side}, came that of 2016 "
            f"({pngs[0].name}) and that of 2017 ({batches[0].name}), whose bits per dimension "
            "cannot be compared; move one of them away"
        )
    if not pngs and not batches:
        raise InputError(
            f"{folder}: expected ImageNet {side}x{side}, either the release of 2016 as "
            f"train_{side}x{side}.tar and valid_{side}x{side}.tar, or that of 2017 as "
            "train_data_batch_1 to _10 and val_data, came neither; get it from "
            "https://image-net.org/download-images, or correct data.folder.path"
        )
    source: Source
    if pngs:
        source = ImagenetPngs(folder, side, image_size)
    else:
        source = ArraySource(imagenet_2017(folder, side), folder, image_size)
    print(f"imagenet{side}: found {source.credit.partition(';')[0]}", file=sys.stderr)
    return source
