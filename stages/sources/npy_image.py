"""Images that lie in a file as NumPy writes an array."""

import io

import numpy as np
from PIL import Image

from glow.apps.pictures import UnreadableImage
from stages.sources.files import Location
from stages.sources.pictures import fetched

LARGEST = 4096  # pixels of a side


def decoded_npy(file: Location) -> Image.Image:
    """The RGB image of 8 bits in a .npy file: (1, 3, H, W), (3, H, W) or (H, W, 3).

    Nothing is allocated before the header has been seen to say so, and no object is unpickled.

    Raises:
        UnreadableImage: it is something else, or not whole.
    """
    stream = io.BytesIO(fetched(file))
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream)
    except (ValueError, EOFError, SyntaxError, TypeError, LookupError) as error:
        raise UnreadableImage(f"expected a .npy file, came something else: {error}") from None
    planes = shape[1:] if len(shape) == 4 and shape[0] == 1 else shape
    first = len(planes) == 3 and planes[0] == 3
    sides = planes[1:] if first else planes[:2]
    right = len(planes) == 3 and (first or planes[2] == 3) and dtype == np.uint8 and not fortran
    if not right or not all(1 <= side <= LARGEST for side in sides):
        raise UnreadableImage(f"expected uint8 of (1, 3, H, W), came {dtype} of {shape}")
    rest = stream.read()
    if len(rest) != 3 * sides[0] * sides[1]:
        raise UnreadableImage(f"expected {3 * sides[0] * sides[1]} bytes, came {len(rest)}")
    pixels = np.frombuffer(rest, np.uint8).reshape(planes)
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0) if first else pixels))
