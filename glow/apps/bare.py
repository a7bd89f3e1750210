"""Image files without what says nothing of their pixels, for those in which that is damaged."""

import io
import struct
from typing import IO

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
CHUNKS = {
    b"IHDR",
    b"PLTE",
    b"tRNS",
    b"eXIf",
    b"IDAT",
    b"IEND",
}  # of PNG; others are text
EXIF, ADOBE = b"Exif\0\0", b"Adobe"
ADOBE_BYTES = 12  # the last of which says how colors are stored
SCAN, EXIF_SEGMENT, ADOBE_SEGMENT = 0xDA, 0xE1, 0xEE  # markers of JPEG
METADATA = {*range(0xE0, 0xF0), 0xFE}


def without_metadata(file: IO[bytes]) -> io.BytesIO | None:
    """A PNG or JPEG with pixels and EXIF alone, as far as it is in order; None for others."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if file.read(len(PNG)) == PNG:
        return io.BytesIO(PNG + b"".join(_chunks(file, size)))
    file.seek(0)
    if file.read(len(JPEG)) == JPEG:
        return io.BytesIO(JPEG + b"".join(_segments(file, size)))
    return None


def _chunks(file: IO[bytes], size: int) -> list[bytes]:
    kept = []
    while len(header := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", header)
        end = min(file.tell() + length + 4, size)  # with the checksum
        if name in CHUNKS:
            kept.append(header + file.read(end - file.tell()))
        file.seek(end)
    return kept


def _segments(file: IO[bytes], size: int) -> list[bytes]:
    kept: list[bytes] = []
    while len(header := file.read(4)) == 4:
        prefix, marker, length = struct.unpack(">BBH", header)
        if prefix != 0xFF or marker == SCAN:
            return [*kept, header, file.read()]
        if marker == 0xFF:  # any number of them may stand before a marker
            file.seek(-3, io.SEEK_CUR)
            continue
        content = file.read(min(length - 2, size - file.tell())) if length > 2 else b""
        if marker not in METADATA or _is_needed(marker, content):
            kept.append(header + content)
    return kept


def _is_needed(marker: int, content: bytes) -> bool:
    if marker == EXIF_SEGMENT:
        return content.startswith(EXIF)
    is_whole = content.startswith(ADOBE) and len(content) >= ADOBE_BYTES
    return marker == ADOBE_SEGMENT and is_whole
