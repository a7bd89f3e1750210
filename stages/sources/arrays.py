"""Reads data sets that are published as arrays: decoded once, then read by number."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from glow.apps.pictures import resized
from stages.sources.mapped import MappedImages
from stages.sources.published import Publication, hash_images
from stages.sources.source import NOT_TEST, Entry, Pixels, RawImage, Source

HELD_OUT = {"test", "valid"}  # parts that no model is trained on; both are tested on


@dataclass(frozen=True)
class ArraySource(Source):
    """Image number i of the part `train` is `train/<i>`; the training parts are cut by the hash.

    One process decodes the files, one after another, into a file that all of them map.
    """

    publication: Publication
    folder: Path
    image_size: int
    images: MappedImages = field(default_factory=MappedImages, compare=False, repr=False)

    @property
    def credit(self) -> str:
        """The authors and their terms."""
        return self.publication.credit

    @property
    def classes(self) -> tuple[str, ...]:
        """As the authors number them."""
        return self.publication.classes

    def entries(self) -> list[Entry]:
        """All images in official order; raises InputError where files are missing or not whole."""
        nothing: dict[str, bool] = {}
        entries: list[Entry] = []
        counts: Counter[str] = Counter()
        hashes: defaultdict[str, list[str]] = defaultdict(list)
        with self.images.filling() as put:
            for name, images, labels in self.publication.parts(self.publication, self.folder):
                put(images)
                if name in self.publication.sha256:
                    hashes[name] += hash_images(images)
                split = "test" if name in HELD_OUT else NOT_TEST
                for number, label in enumerate(labels.tolist(), start=counts[name]):
                    entries.append(
                        Entry(f"{name}/{number:07d}", split, nothing, label, place=len(entries))
                    )
                counts[name] += len(images)
                del images  # the next file is decoded before the loop would let go of it
        self.publication.check_counts(self.folder, counts)
        self.publication.check_images(self.folder, hashes)
        return entries

    def read(self, entry: Entry) -> RawImage:
        """One image in RGB, with its margin, resized where it has another size."""
        if not self.images.filled:
            self.entries()
        pixels = _rgb(self.images[entry.place], self.publication.margin)
        size = self.image_size, self.image_size
        return RawImage(np.array(resized(Image.fromarray(pixels), size)), entry.attributes)


def _rgb(pixels: Pixels, margin: int) -> Pixels:
    framed = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)))
    return framed if framed.shape[2] == 3 else framed.repeat(3, axis=2)
