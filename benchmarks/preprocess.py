"""Preprocess at scale: images per second, memory, and a run that is killed half way.

A million synthetic images, drawn where they are read, and PNG files as a user has them. Rates are
per second of the clock, and per second that the processors worked on it, which others who use
them do not change. Memory is the peak of all processes, what they share counted once. The
killed run gets SIGKILL once half of its shards are finished, is started again, and must end in
the same bytes.

    python benchmarks/preprocess.py
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from multiprocessing import Pool
from pathlib import Path
from typing import Annotated

import numpy as np
import PIL
import psutil
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
Stop = Callable[[], bool]
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


@dataclass
class Watch:
    """Of a run or of two: seconds, those that processors worked, and the peak of memory."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    megabytes: float = 0.0

    def run(self, work: Path, n_images: int, raw: Path | None, n: int, stop: Stop) -> bool:
        """Runs the stage in `n` processes; True if it was killed because of `stop`."""
        here = Path(__file__).resolve().parent
        command = "import sys, preprocess; preprocess.make(*sys.argv[1:])"
        paths = os.pathsep.join(map(str, (here, here.parent)))
        began, cpu = time.monotonic(), dict[int, float]()
        with tempfile.TemporaryFile("w+") as said:
            process = psutil.Popen(
                [sys.executable, "-c", command, str(work), str(n_images), str(raw or "")],
                env={**os.environ, "PYTHONPATH": paths, "GLOW_WORKERS": str(n)},
                stderr=said,
            )
            while not (killed := stop()) and process.poll() is None:
                self._look(process, cpu)
                time.sleep(SECONDS)
            if killed:
                process.kill()
            if process.wait() and not killed:
                said.seek(0)
                raise RuntimeError(said.read())
        self.seconds += time.monotonic() - began
        self.cpu_seconds += sum(cpu.values())
        return killed

    def _look(self, process: psutil.Process, cpu: dict[int, float]) -> None:
        """At a process and all below it; a page that several share counts once."""
        used = 0
        with suppress(psutil.NoSuchProcess, FileNotFoundError):  # one ended: the next look counts
            for one in [process, *process.children(recursive=True)]:
                used += one.memory_full_info().pss
                times = one.cpu_times()
                cpu[one.pid] = times.user + times.system
            self.megabytes = max(self.megabytes, used / MEGABYTE)

    def row(self, case: str, n: int, processes: int) -> dict[str, object]:
        """Of the table."""
        return {
            "images": case,
            "n": n,
            "processes": processes,
            "seconds": round(self.seconds, 1),
            "images_per_second": round(n / self.seconds),
            "per_cpu_second": round(n / self.cpu_seconds),
            "peak_megabytes": round(self.megabytes),
        }


def whole_and_killed(n_images: int, processes: int) -> Iterator[dict[str, object]]:
    """Rows of an undisturbed run on synthetic images, and of one that is killed and goes on."""
    n_shards = n_images // 1000
    with tempfile.TemporaryDirectory() as name:
        whole, killed = Path(name) / "whole", Path(name) / "killed"
        watch = Watch()
        watch.run(whole, n_images, None, processes, never)
        yield watch.row("synthetic", n_images, processes)

        def half() -> bool:
            return len(list((killed / "journal").glob("*.json"))) >= n_shards // 2

        watch = Watch()
        if not watch.run(killed, n_images, None, processes, half):
            raise RuntimeError("the run ended before it was killed")
        watch.run(killed, n_images, None, processes, never)
        if _manifest(whole) != _manifest(killed):
            raise RuntimeError("the killed run ended in other bytes")
        yield watch.row("synthetic, killed half way: same bytes", n_images, processes)


def files(n_files: int, processes: int) -> Iterator[dict[str, object]]:
    """Rows of runs on PNG files, in one process and in all."""
    with tempfile.TemporaryDirectory() as name:
        raw = Path(name) / "raw"
        with Pool(processes) as pool:
            pool.starmap(write_pngs, [(start, raw) for start in range(0, n_files, PER_FOLDER)])
        for n in sorted({1, processes}):
            watch = Watch()
            watch.run(Path(name) / f"made-{n}", n_files, raw, n, never)
            yield watch.row("PNG files", n_files, n)


def never() -> bool:
    """For a run that is not killed."""
    return False


def _manifest(work: Path) -> object:
    """With the hashes of all shards in it."""
    return json.loads((work / "shards" / MANIFEST).read_text())


def plot(rows: report.Rows) -> Figure:
    """Bars: the rate of a process, and the memory of all."""
    figure = Figure(figsize=(10, 0.9 + 0.4 * len(rows)), layout="constrained")
    names = [f"{row['images']}; {row['n']:,}, {row['processes']} proc." for row in rows]
    for axes, key, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("per_cpu_second", "peak_megabytes"),
        ("images per second of a processor", "peak of memory, MB"),
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
    said = f"python benchmarks/preprocess.py --n-images {n_images} --n-files {n_files}"
    about = report.about(said, side=SIDE, numpy=np.__version__, pillow=PIL.__version__)
    rows: report.Rows = []
    for row in chain(whole_and_killed(n_images, cores), files(n_files, cores)):
        rows.append(row)
        report.save(out, about, rows, plot(rows))


if __name__ == "__main__":
    typer.run(command)
