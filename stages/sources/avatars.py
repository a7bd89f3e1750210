"""The embedded data set: cartoon faces with known attributes, rendered from a seed.

The drawings are 'Avataaars' by Pablo Stanley (https://avataaars.com), free for personal and
commercial use, remixed by DiceBear; the packages dicebear-core and dicebear-styles carry them.
Attributes are read off the options that DiceBear resolved, so they are exact.
"""

import io
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import resvg_py
from dicebear import Avatar, Style
from PIL import Image

from stages.params import AvatarsParams
from stages.sources.source import Entry, Pixels, RawImage, Source

BACKGROUND = "#dfeaf5"
FACE_CENTER = (0.5, 0.47)  # of the drawing, where zooming goes
SUPERSAMPLING = 2

LONG_HAIR = ["bigHair", "bob", "curly", "curvy", "longButNotTooLong", "miaWallace", "straight01"]
LONG_HAIR += ["straight02", "straightAndStrand"]
SHORT_HAIR = ["shortCurly", "shortFlat", "shortRound", "shortWaved", "theCaesar", "dreads01"]
HATS = ["hat", "winterHat02", "winterHat03", "winterHat1"]
BEARDS = ["beardLight", "beardMajestic", "beardMedium"]
MUSTACHES = ["moustacheFancy", "moustacheMagnum"]
CLEAR_GLASSES = ["prescription01", "prescription02", "round"]
SUNGLASSES = ["sunglasses", "wayfarers"]
SMILES = ["smile", "twinkle", "tongue"]
BLACK, BLONDS = "#2c1b18", ["#d6b370", "#ecdcbf"]
PALE = ["#edb98a", "#ffdbb4"]

OPTIONS: dict[str, Any] = {
    "topVariant": LONG_HAIR + SHORT_HAIR + HATS,
    "hairColor": [BLACK, *BLONDS, "#a55728", "#724133", "#c93305"],
    "hatColor": ["#25557c", "#ff5c5c", "#3c4f5c", "#a7ffc4"],
    "skinColor": [*PALE, "#d08b5b", "#ae5d29", "#614335"],
    "accessoriesVariant": CLEAR_GLASSES + SUNGLASSES,
    "accessoriesColor": ["#262e33"],
    "accessoriesProbability": 45,
    "facialHairVariant": BEARDS + MUSTACHES,
    "facialHairColor": [BLACK, "#a55728", "#724133"],
    "facialHairProbability": 40,
    "mouthVariant": [*SMILES, "sad", "serious", "disbelief"],
    "eyesVariant": ["default", "happy", "side", "squint", "surprised", "closed"],
    "eyebrowsVariant": ["default", "defaultNatural", "flatNatural", "raisedExcited"],
    "clothesVariant": ["shirtCrewNeck", "shirtVNeck", "hoodie", "collarAndSweater"],
    "clothesColor": ["#25557c", "#ff5c5c", "#3c4f5c", "#65c9ff", "#ffffff"],
}

ATTRIBUTES = (
    "Eyeglasses",
    "Sunglasses",
    "Smiling",
    "Beard",
    "Mustache",
    "Wearing_Hat",
    "Black_Hair",
    "Blond_Hair",
    "Long_Hair",
    "Pale_Skin",
)


@dataclass(frozen=True)
class AvatarsSource(Source):
    """Avatar number i of a seed is the same image everywhere."""

    params: AvatarsParams
    image_size: int
    seed: int

    @property
    def credit(self) -> str:
        """The artist and the license."""
        return (
            "Avataaars by Pablo Stanley (https://avataaars.com), free for personal and "
            "commercial use; rendered with DiceBear (https://www.dicebear.com)"
        )

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Ten attributes; the names that CelebA has are CelebA's."""
        return ATTRIBUTES

    def entries(self) -> list[Entry]:
        """One per avatar, in the order of their numbers."""
        return [Entry(f"avatar-{index:08d}") for index in range(self.params.n_images)]

    def read(self, entry: Entry) -> RawImage:
        """Draws one face (about 3 ms)."""
        avatar = Avatar(_style(), {**OPTIONS, "seed": f"{self.seed}/{entry.name}"})
        pixels = drawn(avatar, self.image_size, self.params.zoom, FACE_CENTER)
        return RawImage(pixels, _attributes(avatar.to_json()["options"]))


def drawn(avatar: Avatar, image_size: int, zoom: float, center: tuple[float, float]) -> Pixels:
    """An avatar in pixels (H, W, C), `zoom` times as large as the image, which shows `center`."""
    side = SUPERSAMPLING * image_size
    whole = round(side * zoom)
    png = resvg_py.svg_to_bytes(
        svg_string=avatar.to_string(),
        background=BACKGROUND,
        width=whole,
        height=whole,
        skip_system_fonts=True,
    )
    left, top = (round(whole * place - side / 2) for place in center)
    drawing = Image.open(io.BytesIO(bytes(png))).convert("RGB")
    canvas = Image.new("RGB", (side, side), BACKGROUND)
    canvas.paste(drawing, (-left, -top))
    return np.asarray(canvas.reduce(SUPERSAMPLING))


@lru_cache(maxsize=1)
def _style() -> Style:
    definition = files("dicebear_styles").joinpath("avataaars.json").read_text("utf-8")
    return Style(json.loads(definition))


def _attributes(options: dict[str, Any]) -> dict[str, bool]:
    """Hair has a color only where it is seen: not under a hat."""
    top = options["topVariant"]
    hair = None if top in HATS else options["hairColor"][0]
    glasses, facial_hair = options.get("accessoriesVariant"), options.get("facialHairVariant")
    return {
        "Eyeglasses": glasses in CLEAR_GLASSES,
        "Sunglasses": glasses in SUNGLASSES,
        "Smiling": options["mouthVariant"] in SMILES,
        "Beard": facial_hair in BEARDS,
        "Mustache": facial_hair in MUSTACHES,
        "Wearing_Hat": top in HATS,
        "Black_Hair": hair == BLACK,
        "Blond_Hair": hair in BLONDS,
        "Long_Hair": top in LONG_HAIR,
        "Pale_Skin": options["skinColor"][0] in PALE,
    }
