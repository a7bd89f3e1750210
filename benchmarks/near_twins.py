"""Near twins: how many real ones are found, and how many that are none are reported.

CIFAR-10 goes through preprocess as a user runs it, and what is reported is counted and drawn.
Photographs, whole and in tiles, are cut, scaled, brightened and so on, and looked for among those
as they were and CIFAR-10's training images.

    python benchmarks/near_twins.py CIFAR10 BSDS500
"""

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import report
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor

from glow import to_pixels
from stages.duplicates import find_duplicates
from stages.looks import looks
from stages.params import load_params
from stages.preprocess import preprocess
from stages.shards import DUPLICATES, SPLITS, ShardSet

SIDE, TILE = 32, 96  # of an image, and of a tile in its photograph
EVERY, SHOWN = 3, 96  # tile that is taken; pairs that are drawn
Picture = Image.Image
Box = tuple[float, float, float, float]


def cut(share: float) -> Callable[[Picture, Box], Picture]:
    """A part of what is in the box, of that share of its sides, not in its middle."""

    def change(photo: Picture, box: Box) -> Picture:
        left, top, right, _ = box
        side = right - left
        at = left + (1 - share) * side * 0.8, top + (1 - share) * side * 0.3
        return small(photo, (*at, at[0] + share * side, at[1] + share * side))

    return change


def small(photo: Picture, box: Box, side: int = SIDE) -> Picture:
    """What is in the box as an image."""
    return photo.resize((side, side), Image.Resampling.LANCZOS, box=box)


def jpeg(image: Picture, quality: int) -> Picture:
    """Compressed and read again."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def tinted(image: Picture) -> Picture:
    """In the light of a lamp."""
    return Image.fromarray((np.asarray(image) * [1.0, 0.85, 0.7]).astype(np.uint8))


CHANGES: dict[str, Callable[[Picture, Box], Picture]] = {
    "cut to 95 %": cut(0.95),
    "cut to 90 %": cut(0.9),
    "cut to 80 %": cut(0.8),
    "by way of 20x20 pixels": lambda p, b: small(p, b, 20).resize((SIDE, SIDE)),
    "brighter by 30 %": lambda p, b: ImageEnhance.Brightness(small(p, b)).enhance(1.3),
    "half the contrast": lambda p, b: ImageEnhance.Contrast(small(p, b)).enhance(0.5),
    "JPEG of quality 70": lambda p, b: jpeg(small(p, b), 70),
    "JPEG of quality 30": lambda p, b: jpeg(small(p, b), 30),
    "tinted": lambda p, b: tinted(small(p, b)),
    "gray": lambda p, b: small(p, b).convert("L").convert("RGB"),
    "cut to 92 %, tinted, JPEG 60": lambda p, b: jpeg(tinted(cut(0.92)(p, b)), 60),
    "mirrored (no twin)": lambda p, b: small(p, b).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def wholes(photographs: Sequence[Picture]) -> list[tuple[Picture, Box]]:
    """The largest square in the middle of each."""
    found: list[tuple[Picture, Box]] = []
    for photo in photographs:
        side = min(photo.size)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        found.append((photo, (left, top, left + side, top + side)))
    return found


def tiles(photographs: Sequence[Picture]) -> list[tuple[Picture, Box]]:
    """Every so many of the tiles of all photographs; none overlap."""
    found = []
    for photo in photographs:
        for top in range(0, photo.height - TILE + 1, TILE):
            for left in range(0, photo.width - TILE + 1, TILE):
                found.append((photo, (left, top, left + TILE, top + TILE)))
    return found[::EVERY]


def of_photographs(
    kind: str, cut_out: Sequence[tuple[Picture, Box]], others: NDArray[np.void]
) -> report.Rows:
    """A row per change: those whose twin is told, and those that are told of another image."""
    n = len(cut_out)
    known = np.concatenate([looks([np.asarray(small(*t)) for t in cut_out], 8), others])
    changed = [looks([np.asarray(of(*t)) for t in cut_out], 8) for of in CHANGES.values()]
    splits = np.repeat([0, 2], [len(known), n * len(CHANGES)]).astype(np.uint8)
    found, _ = find_duplicates(np.concatenate([known, *changed]), splits)
    told = found[(splits[found["image"]] == 2) & (splits[found["twin"]] == 0)]
    change, tile = np.divmod(told["image"].to_numpy() - len(known), n)
    right = told["twin"].to_numpy() == tile
    rows = []
    for number, name in enumerate(CHANGES):
        counts = [int((right == r)[change == number].sum()) for r in (True, False)]
        row = {"images": f"{kind}, {name}", "twins": n, "found": counts[0]}
        rows.append(row | {"others_told": counts[1], "share": round(counts[0] / n, 4)})
    within = found[(splits[found["image"]] == 0) & (found["image"] < n) & (found["twin"] < n)]
    row = {"images": f"{kind} as they are (no twins)", "twins": 0, "found": 0}
    return [*rows, row | {"others_told": len(within), "share": None}]


def of_cifar(cifar: Path, folder: Path) -> tuple[report.Rows, NDArray[np.void], Figure]:
    """The row of twins.csv, looks of the training images, and a sheet of what is reported."""
    data = load_params().data.model_copy(update={"source": "parquet", "n_bits": 8})
    data = data.model_copy(
        update={"folder": data.folder.model_copy(update={"path": str(cifar)}), "image_size": SIDE}
    )
    preprocess(data, 0, folder)
    shards = ShardSet.open(folder)
    told = pd.read_csv(folder / DUPLICATES)
    told = told[(told["split"] == "test") & (told["twin_split"] == "train")]
    known = pd.read_csv(cifar / "twins.csv").map(entries(cifar).get)
    found = int(known["test"].isin(told["image"]).sum())
    exactly = len(known.merge(told, left_on=["test", "train"], right_on=["image", "twin"]))
    row = {"images": "CIFAR-10, twins.csv", "twins": len(known), "found": found}
    row |= {"others_told": len(told) - found, "share": round(found / len(known), 4)}
    print(f"{len(told)} test images told; {exactly} with the very twin of twins.csv")
    pictures = {s.name: s.levels for split in SPLITS for s in shards.samples(split)}
    levels = shards.load("train")[0].permute(0, 2, 3, 1).numpy()
    return [row], looks(list(levels), shards.n_bits), sheet(told, pictures, shards.n_bits)


def entries(cifar: Path) -> dict[str, str]:
    """What preprocess calls the images, by the names of their files."""
    return {
        image["path"]: f"{file.name}/{row:07d}"
        for file in sorted(cifar.glob("*.parquet"))
        for row, image in enumerate(pq.read_table(file, columns=["image"])["image"].to_pylist())
    }


def sheet(told: pd.DataFrame, pictures: dict[str, Tensor], n_bits: int) -> Figure:
    """Every so many of the reported pairs, from the most to the least alike."""
    told = told.sort_values("likeness", ascending=False)
    told = told.iloc[np.linspace(0, len(told) - 1, min(SHOWN, len(told))).astype(int)]
    figure = Figure(figsize=(16, 14))
    axes = figure.subplots(12, -(-SHOWN // 12), squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, row in zip(axes, told.itertuples(), strict=False):
        pair = [pictures[name].permute(1, 2, 0).numpy() for name in (row.image, row.twin)]
        axis.imshow(to_pixels(np.concatenate(pair, axis=1), n_bits))
        axis.set_title(f"{row.likeness:.2f}", fontsize=8)
    return figure


def command(
    cifar: Annotated[Path, typer.Argument(help="CIFAR-10 as Parquet files, with twins.csv")],
    photographs: Annotated[Path, typer.Argument(help="folder of JPEGs, such as BSDS500")],
    out: Annotated[Path, typer.Option(help="JSON to write")] = Path("near_twins.json"),
    drawn: Annotated[Path, typer.Option(help="PNG of pairs to write")] = Path("near_twins.png"),
) -> None:
    """Recall and false reports of near twins.

    Example: python benchmarks/near_twins.py CIFAR10 BSDS500
    """
    with tempfile.TemporaryDirectory() as folder:
        rows, others, figure = of_cifar(cifar, Path(folder) / "shards")
    figure.savefig(drawn, dpi=80, bbox_inches="tight")
    files = sorted(photographs.rglob("*.jpg"))
    opened = [Image.open(file).convert("RGB") for file in files]
    rows += of_photographs("photographs", wholes(opened), others)
    rows += of_photographs("tiles", tiles(opened), others)
    command = f"python benchmarks/near_twins.py {cifar} {photographs}"
    report.save(out, report.about(command), rows)


if __name__ == "__main__":
    typer.run(command)
