"""Preprocess at scale: images per second, memory, and a run that is killed half way.

A million synthetic images, drawn where they are read, and PNG files as a user has them. Memory is
the peak of all processes together, what they share counted once. The killed run gets SIGKILL once
half of its shards are finished, is started again, and must end in the same bytes.

    python benchmarks/preprocess.py
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from typing import Annotated

import numpy as np
import PIL
import psutil  # type: ignore[import-untyped]
import report
import typer
from matplotlib.figure import Figure
from PIL import Image

from stages.listing import Listing
from stages.params import DataParams, load_params
from stages.preprocess import make_dataset
from stages.shards import MANIFEST
from stages.sources.folder import FolderSource
from stages.sources.source import Entry, RawImage, Source
from stages.unfinished import Unfinished

SIDE = 32
PER_FOLDER = 1000
SECONDS = 0.2  # between two looks at the memory
MEGABYTE = 1e6


@dataclass(frozen=True)
class NoiseSource:
    """Images that need no file: noise that depends on the name."""

    n_images: int
    credit: str = "nobody"
    attribute_names: tuple[str, ...] = ("Odd",)
    classes: tuple[str, ...] = ()

    def entries(self) -> list[Entry]:
        """All of them; two share what is known of them."""
        known = [{"Odd": False}, {"Odd": True}]
        return [Entry(f"{i:08d}", attributes=known[i % 2]) for i in range(self.n_images)]

    def read(self, entry: Entry) -> RawImage:
        """Draws one."""
        return RawImage(noise(int(entry.name)), entry.attributes)


def noise(index: int) -> np.ndarray:
    """SIDE x SIDE pixels, other ones for each index."""
    drawn = np.random.PCG64(index).random_raw(SIDE * SIDE * 3 // 8)
    return drawn.view(np.uint8).reshape(SIDE, SIDE, 3)


def write_pngs(start: int, folder: Path) -> None:
    """PER_FOLDER files."""
    below = folder / f"{start:08d}"
    below.mkdir(parents=True)
    for index in range(start, start + PER_FOLDER):
        Image.fromarray(noise(index)).save(below / f"{index:08d}.png", compress_level=1)


def params(raw: Path | None) -> DataParams:
    """Of params.yaml, for a folder of images or none."""
    data = load_params().data
    changes: dict[str, object] = {"image_size": SIDE, "n_bits": 5, "shard_size": 1000}
    if raw is not None:
        folder = data.folder.model_copy(update={"path": str(raw)})
        changes |= {"source": "folder", "folder": folder}
    return data.model_copy(update=changes)


def make(work: str, n_images: str, raw: str) -> None:
    """What a process of this benchmark does: the stage, without its lock."""
    data = params(Path(raw) if raw else None)
    source: Source = FolderSource(data.folder, SIDE) if raw else NoiseSource(int(n_images))
    make_dataset(source, Listing.of(source.entries(), data), data, Unfinished.at(Path(work)))


def watched(
    work: Path, n_images: int, raw: Path | None, processes: int, stop: Callable[[], bool]
) -> tuple[float, float, bool]:
    """Seconds, peak of memory in MB, and whether it was killed because of `stop`."""
    here = Path(__file__).resolve().parent
    command = "import sys, preprocess; preprocess.make(*sys.argv[1:])"
    paths = os.pathsep.join(map(str, (here, here.parent)))
    began, peak = time.monotonic(), 0.0
    process = psutil.Popen(
        [sys.executable, "-c", command, str(work), str(n_images), str(raw or "")],
        env={**os.environ, "PYTHONPATH": paths, "GLOW_WORKERS": str(processes)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        peak = max(peak, _memory(process))
        if stop():
            process.kill()
            process.wait()
            return time.monotonic() - began, peak, True
        time.sleep(SECONDS)
    if process.returncode:
        raise RuntimeError(process.stderr.read())
    return time.monotonic() - began, peak, False


def _memory(process: psutil.Process) -> float:
    """Of a process and all below it; a page that several share counts once."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_full_info().pss
    except (psutil.NoSuchProcess, FileNotFoundError, PermissionError):
        return 0.0  # one ended meanwhile: the next look counts
    return total / MEGABYTE


def measure(case: str, n_images: int, raw: Path | None, processes: int, kill: bool) -> report.Rows:  # noqa: FBT001
    """A row for an undisturbed run and, with `kill`, for one that is killed and goes on."""
    n_shards = n_images // 1000
    with tempfile.TemporaryDirectory(dir=".") as name:
        whole, killed = Path(name) / "whole", Path(name) / "killed"
        seconds, peak, _ = watched(whole, n_images, raw, processes, lambda: False)
        rows = [_row(case, n_images, processes, seconds, peak)]
        if kill:
            journal = killed / "journal"

            def half() -> bool:
                return len(list(journal.glob("*.json"))) >= n_shards // 2

            first, peak, was_killed = watched(killed, n_images, raw, processes, half)
            assert was_killed, "it ended before it was killed"
            rest, later, _ = watched(killed, n_images, raw, processes, lambda: False)
            same = _manifest(whole) == _manifest(killed)
            assert same, "a killed run ended in other bytes"
            case = f"{case}, killed after {first:.0f} s"
            rows.append(_row(case, n_images, processes, first + rest, max(peak, later)))
        return rows


def _manifest(work: Path) -> object:
    """With the hashes of all shards in it."""
    return json.loads((work / "shards" / MANIFEST).read_text())


def _row(case: str, n: int, processes: int, seconds: float, peak: float) -> dict[str, object]:
    return {
        "images": case,
        "n": n,
        "processes": processes,
        "seconds": round(seconds, 1),
        "images_per_second": round(n / seconds),
        "per_process": round(n / seconds / processes),
        "peak_megabytes": round(peak),
    }


def plot(rows: report.Rows) -> Figure:
    """Bars: the rate of a process, and the memory of all."""
    figure = Figure(figsize=(10, 0.9 + 0.4 * len(rows)), layout="constrained")
    names = [f"{row['images']}; {row['n']:,}, {row['processes']} proc." for row in rows]
    for axes, key, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("per_process", "peak_megabytes"),
        ("images per second and process", "peak of memory, MB"),
        strict=True,
    ):
        bars = axes.barh(names, [row[key] for row in rows])
        axes.bar_label(bars, fmt="{:,.0f}", padding=3)
        axes.set_xlabel(label)
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    return figure


def command(
    *,
    n_images: Annotated[int, typer.Option(help="synthetic ones")] = 1_000_000,
    n_files: Annotated[int, typer.Option(help="PNG files")] = 100_000,
    out: Annotated[Path, typer.Option(help="JSON to write, Markdown and PNG beside it")] = Path(
        "benchmarks/results/preprocess.json"
    ),
) -> None:
    """Time preprocess, watch its memory, and kill it half way."""
    cores = len(os.sched_getaffinity(0))
    rows = measure("synthetic", n_images, None, cores, kill=True)
    with tempfile.TemporaryDirectory(dir=".") as name:
        raw = Path(name)
        with Pool(cores) as pool:
            starts = range(0, n_files, PER_FOLDER)
            pool.starmap(write_pngs, [(start, raw) for start in starts])
        for processes in sorted({1, cores}):
            rows += measure("PNG files", n_files, raw, processes, kill=processes == cores)
    said = f"python benchmarks/preprocess.py --n-images {n_images} --n-files {n_files}"
    about = report.about(said, side=SIDE, numpy=np.__version__, pillow=PIL.__version__)
    report.save(out, about, rows, plot(rows))


if __name__ == "__main__":
    typer.run(command)
