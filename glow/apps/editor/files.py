"""Pictures as files: PNG for the page, GIF of a morph."""

import io

from PIL import Image
from torch import Tensor

from glow.apps.uploads import to_picture

FRAME_MS = 50
REST_MS = 600  # on both faces of a morph


def png(pixels: Tensor, scale: int = 1) -> bytes:
    """Pixels (C, H, W), uint8, each as a square of `scale` pixels."""
    file = io.BytesIO()
    _enlarged(pixels, scale).save(file, "PNG", compress_level=1 if scale == 1 else 6)
    return file.getvalue()


def gif(frames: Tensor, scale: int) -> bytes:
    """Frames (N, C, H, W), uint8, there and back for ever; each has its own 256 colours."""
    there = [
        _enlarged(frame, scale).convert("RGB").quantize(dither=Image.Dither.NONE)
        for frame in frames
    ]
    round_trip = [*there, *there[-2:0:-1]]
    rests = {0, len(there) - 1}
    durations = [REST_MS if index in rests else FRAME_MS for index in range(len(round_trip))]
    file = io.BytesIO()
    round_trip[0].save(
        file, "GIF", save_all=True, append_images=round_trip[1:], duration=durations, loop=0
    )
    return file.getvalue()


def _enlarged(pixels: Tensor, scale: int) -> Image.Image:
    picture = to_picture(pixels)
    if scale == 1:
        return picture
    size = (picture.width * scale, picture.height * scale)
    return picture.resize(size, Image.Resampling.NEAREST)
