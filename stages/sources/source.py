"""What a reader of a data set format offers to the preprocess stage."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
NOT_TEST = "train or valid"  # a split that leaves the choice between these to the hash


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a source, before it is read.

    Attributes:
        name: unique in the source; its hash decides on split and order.
        split: train, valid or test where the source settles it; NOT_TEST where an official
            training part leaves only the validation images to be drawn; else None.
        attributes: what is known of it without reading it; images may share one dict.
        label: its class, a number within the source's `classes`, else None.
        place: where it lies, for the source that listed it: a number, a path, an offset.
        photograph: the name of what a tile is cut from, else None.
    """

    name: str
    split: str | None = None
    attributes: dict[str, bool] = field(default_factory=dict)
    label: int | None = None
    place: Any = 0
    photograph: str | None = None

    @property
    def group(self) -> str:
        """What must not be torn apart by the split: for a tile, its photograph; else itself."""
        return self.name if self.photograph is None else self.photograph


@dataclass(frozen=True)
class RawImage:
    """One image, read: pixels (image_size, image_size, 3), 8 bits, RGB."""

    pixels: Pixels
    attributes: dict[str, bool]


class Source(Protocol):
    """A data set that is listed cheaply and read image by image, in any process (picklable).

    Readers inherit from it for what most of them lack.
    """

    @property
    def credit(self) -> str:
        """Who made the images and under which terms; written to dataset.json."""

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The attributes that every image of this source has, classes aside; by default none."""
        return ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, of which every image has one; by default there are none."""
        return ()

    @property
    def passed_over(self) -> dict[str, int]:
        """How many files lie among its own and are not read, by suffix; most frequent first."""
        return {}

    def entries(self) -> list[Entry]:
        """All images; raises InputError where there is nothing to read."""

    def read(self, entry: Entry) -> RawImage:
        """Renders or decodes one image; raises UnreadableImage."""
