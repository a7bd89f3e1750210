"""Photographs of solar cells, the data set ELPV, out of the package that ships it."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from glow.apps.pictures import decode, open_image, resized
from stages.errors import InputError
from stages.sources.source import Entry, RawImage, Source

PACKAGE = "elpv_dataset"
N_IMAGES = 2624
DEFECTIVE_FROM = 0.5
TYPES = {"mono": True, "poly": False}
INSTALL = "`pip install -c constraints.txt -e '.[elpv]'` brings it"


@dataclass(frozen=True)
class ElpvSource(Source):
    """Cells of 44 solar modules, 300x300 and grey, named as in the package: images/cell0001.

    Experts rated each cell as functional or defective, and how sure they were: a probability of 0,
    1/3, 2/3 or 1 of a defect. `Defective` is one of 0.5 or more, that is, more likely than not.
    """

    image_size: int

    @property
    def credit(self) -> str:
        """The authors and their terms."""
        return (
            "ELPV, 'A Benchmark for Visual Identification of Defective Solar Cells in "
            "Electroluminescence Imagery', by Claudia Buerhop-Lutz, Sergiu Deitsch, Andreas "
            "Maier, Florian Gallwitz, Stephan Berger, Bernd Doll, Jens Hauch, Christian Camus and "
            "Christoph J. Brabec (https://github.com/zae-bayern/elpv-dataset), CC BY-NC-SA 4.0: "
            "not for commercial use"
        )

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """A defect that is more likely than not, and the kind of silicon."""
        return ("Defective", "Monocrystalline")

    def entries(self) -> list[Entry]:
        """All cells in the order of the package; it settles no split."""
        table = _data() / "labels.csv"
        entries = [
            Entry(name.removesuffix(".png"), None, attributes) for name, attributes in _rows(table)
        ]
        if not len({entry.name for entry in entries}) == len(entries) == N_IMAGES:
            raise InputError(
                f"{table}: expected {N_IMAGES} cells, came {len(entries)}; "
                "`pip install --force-reinstall --no-deps elpv-dataset` brings them back"
            )
        return entries

    def read(self, entry: Entry) -> RawImage:
        """Decodes and resizes one photograph."""
        with open_image(_data() / f"{entry.name}.png") as image:
            photograph = resized(decode(image), (self.image_size, self.image_size))
        return RawImage(np.array(photograph), entry.attributes)


def _data() -> Path:
    """The package is found, not imported: its code does not run."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"data.source: elpv needs the package elpv-dataset, which is not there; {INSTALL}"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _rows(table: Path) -> Iterator[tuple[str, dict[str, bool]]]:
    """Lines are the file, the probability of a defect and the type, between blanks."""
    if not table.is_file():
        raise InputError(f"{table}: expected the labels of elpv-dataset, came no file; {INSTALL}")
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            name, probability, kind = line.split()
            yield (
                name,
                {
                    "Defective": float(probability) >= DEFECTIVE_FROM,
                    "Monocrystalline": TYPES[kind],
                },
            )
        except (ValueError, KeyError):
            raise InputError(
                f"{table} line {number}: expected a file, a probability and mono or poly, "
                f"came {line!r}; `pip install --force-reinstall --no-deps elpv-dataset`"
            ) from None
