"""Downsampled ImageNet of 2016 (van den Oord et al.): PNG files without labels, also in tars."""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from glow.apps.pictures import UnreadableImage, decode, open_image, resized
from stages.errors import InputError
from stages.sources.archive import plain_members
from stages.sources.source import NOT_TEST, Entry, RawImage, Source

SPLITS = {"train": NOT_TEST, "valid": "test"}
COUNTS = {"train": 1281149, "valid": 49999}
URL = "Academic Torrents (ImageNet no longer has it)"
LARGEST = 2**20  # bytes of one PNG


def png_files(folder: Path, side: int) -> list[Path]:
    """The folders and tars of this release that are there."""
    names = [f"{split}_{side}x{side}" for split in SPLITS]
    candidates = [folder / f"{name}{suffix}" for name in names for suffix in ("", ".tar")]
    return [file for file in candidates if file.exists()]


@dataclass(frozen=True)
class ImagenetPngs(Source):
    """`train/0000001` is train_32x32/0000001.png, in a folder, else in train_32x32.tar.

    Args:
        folder: where the folders or tars are.
        side: 32 or 64, the release.
        image_size: to which the images are resized where it is another.
        official: whether there must be as many images as the release has.
    """

    folder: Path
    side: int
    image_size: int
    official: bool = True

    @property
    def credit(self) -> str:
        """The release and its terms."""
        return (
            f"ImageNet {self.side}x{self.side} of 2016 by Aaron van den Oord, Nal Kalchbrenner "
            "and Koray Kavukcuoglu (https://arxiv.org/abs/1601.06759), without labels; for "
            "non-commercial research and education, under the terms of ImageNet "
            "(https://image-net.org/download), which does not own the photographs"
        )

    def entries(self) -> list[Entry]:
        """All images by name; their place is their offset in the tar."""
        nothing: dict[str, bool] = {}
        entries: list[Entry] = []
        for split in SPLITS:
            found = dict(self._listed(split))
            if self.official and len(found) != COUNTS[split]:
                raise InputError(
                    f"{self._path(split)}: expected the {COUNTS[split]} images of the release, "
                    f"came {len(found)}; get it again from {URL}"
                )
            for stem in sorted(found):
                entries.append(Entry(f"{split}/{stem}", SPLITS[split], nothing, place=found[stem]))
        return entries

    def read(self, entry: Entry) -> RawImage:
        """Decodes one PNG, out of the tar where it is in one."""
        split, _, stem = entry.name.partition("/")
        path = self._path(split)
        file = io.BytesIO(_member(path, entry.place)) if entry.place else path / f"{stem}.png"
        with open_image(file) as image:
            picture = decode(image)
        if picture.size != (self.side, self.side):
            came = "x".join(map(str, picture.size))
            raise UnreadableImage(f"expected {self.side}x{self.side} pixels, came {came}")
        size = self.image_size, self.image_size
        return RawImage(np.array(resized(picture, size)), entry.attributes)

    def _path(self, split: str) -> Path:
        folder = self.folder / f"{split}_{self.side}x{self.side}"
        return folder if folder.is_dir() else folder.with_name(f"{folder.name}.tar")

    def _listed(self, split: str) -> Iterator[tuple[str, int]]:
        path = self._path(split)
        if path.is_dir():
            with os.scandir(path) as files:
                yield from ((file.name[:-4], 0) for file in files if file.name.endswith(".png"))
            return
        if not path.is_file():
            raise InputError(
                f"{self.folder}: expected train_{self.side}x{self.side} and "
                f"valid_{self.side}x{self.side} as tars or folders of PNG files, came no "
                f"{path.stem}; get it from {URL}"
            )
        try:
            with tarfile.open(path, "r:") as tar:
                for member in plain_members(tar):
                    name = PurePosixPath(member.name)
                    if name.suffix == ".png":
                        yield name.stem, member.offset_data
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise InputError(
                f"{path}: expected a whole tar of PNG files, came a damaged one ({error}); "
                f"get it again from {URL}"
            ) from None


def _member(tar: Path, offset: int) -> bytes:
    """What lies at the offset, as long as the header just before it says."""
    with tar.open("rb") as stream:
        stream.seek(offset - tarfile.BLOCKSIZE)
        header = tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), "utf-8", "strict")
        if header.size > LARGEST:
            raise UnreadableImage(f"expected a PNG of at most {LARGEST} bytes, came {header.size}")
        return stream.read(header.size)
