"""FFHQ as published: folders of numbered PNG files, at 128 or 1024 pixels."""

import re
from dataclasses import dataclass

from stages.params import FolderParams
from stages.sources.files import Location
from stages.sources.layout import Layout
from stages.sources.pictures import cropped, decoded, raw
from stages.sources.source import NOT_TEST, Entry, RawImage, Source

SIDES = {128: "thumbnails128x128", 1024: "images1024x1024"}
IMAGE = re.compile(r"(?:\d{5}/)?(\d{5})\.png")
N_TRAINING = 60_000  # the first ones; the other 10,000 are the makers' validation images
FFHQ = Layout(
    "FFHQ",
    "https://github.com/NVlabs/ffhq-dataset",
    f"{SIDES[128]}/00000/00000.png and so on, or the same in {SIDES[1024]}/",
    70_000,
)


@dataclass(frozen=True)
class FfhqSource(Source):
    """Image `00007` is number 7 of FFHQ, of either size.

    Where both folders are there, the thumbnails are read for images of 128 pixels or fewer.

    Args:
        params: where the folders are; the rest of it is for other sources.
        image_size: to which the images are resized.
        official: whether there must be as many images as FFHQ has.
    """

    params: FolderParams
    image_size: int
    official: bool = True

    @property
    def credit(self) -> str:
        """The authors and the terms."""
        return (
            "Flickr-Faces-HQ by Tero Karras, Samuli Laine and Timo Aila, NVIDIA "
            "(https://github.com/NVlabs/ffhq-dataset), CC BY-NC-SA 4.0; the photographs by their "
            "authors on Flickr under CC BY, CC BY-NC, public domain or U.S. Government terms"
        )

    def entries(self) -> list[Entry]:
        """All images by number; what the makers call validation is our test."""
        root = Location(self.params.path)
        folder = next(filter(None, map(self._folder, self._sides())), None)
        matches = [
            (match[1], name)
            for name in (folder.files({".png"}) if folder else [])
            if (match := IMAGE.fullmatch(name))
        ]
        if folder is None or not matches:
            raise FFHQ.missing(root, f"{SIDES[128]}/ or {SIDES[1024]}/ with images")
        if self.official:
            FFHQ.check_count(folder, len(dict(matches)))
        where = folder.path.rpartition("/")[2]
        nothing: dict[str, bool] = {}
        return [
            Entry(
                number,
                NOT_TEST if int(number) < N_TRAINING else "test",
                nothing,
                place=f"{where}/{name}",
            )
            for number, name in sorted(dict(matches).items())
        ]

    def read(self, entry: Entry) -> RawImage:
        """Decodes one image; raises UnreadableImage."""
        image = decoded(Location(self.params.path) / entry.place)
        return raw(cropped(image, "center"), self.image_size, entry.attributes)

    def _sides(self) -> list[int]:
        """The better one to read first."""
        return sorted(SIDES, reverse=self.image_size > min(SIDES))

    def _folder(self, side: int) -> Location | None:
        folder = Location(self.params.path) / SIDES[side]
        return folder if folder.is_folder() else None
