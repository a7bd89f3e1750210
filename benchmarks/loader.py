"""Images per second that shards give, beside what the default model trains at on them.

Reading one sample after another as webdataset does; a whole split by position; batches that are
held or streamed, flipped and shifted as CIFAR-10's; and the trainer of params.yaml on either. On
synthetic shards in a temporary folder, so read from the operating system's cache; those that are
fetched come from a web server on the same machine, whose cores it needs too, in four windows into
a cache of two, so that every epoch fetches every shard. Interleaved rounds; every number is the
median over them.

    python benchmarks/loader.py
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import report
import torch
import typer
from matplotlib.figure import Figure
from rounds import Contestant, seconds

from glow import Glow, GlowConfig, dequantize
from glow.trainer import TrainConfig, Trainer
from stages.batches import Batches
from stages.order import WINDOW_BYTES
from stages.outputs import write_json
from stages.params import load_params
from stages.shards import MANIFEST, Record, ShardSet, write_shard

SHARD_SIZE, N_BITS = 1000, 5
STEPS = 6  # of training in a round
SEED = 0
SIDES = [32, 64]
HELD = "held, moved"
TRAINED = "trained on held"
FETCHED = "fetched by 1 workers, moved"
WINDOWS = 4  # of a split that is fetched


def write_shards(folder: Path, n_images: int, side: int) -> None:
    """A training split of random levels without attributes."""
    generator = np.random.default_rng(SEED)
    shards = {}
    for start in range(0, n_images, SHARD_SIZE):
        name = f"train-{start // SHARD_SIZE:06d}.tar"
        count = min(SHARD_SIZE, n_images - start)
        shards[name] = write_shard(folder / "train" / name, _samples(generator, count, side))
    manifest = {
        "image_size": side,
        "n_bits": N_BITS,
        "attributes": {},
        "splits": {"train": {"count": n_images, "shards": shards}},
        "checksum": "",
    }
    write_json(folder / MANIFEST, manifest)


def _samples(generator: np.random.Generator, count: int, side: int) -> Iterator[Record]:
    for index in range(count):
        levels = generator.integers(0, 2**N_BITS, (side, side, 3), dtype=np.uint8)
        yield Record(str(index), levels, {})


def one_by_one(folder: Path) -> Callable[[], object]:
    """All samples of the split through webdataset."""
    shards = ShardSet.open(folder)
    return lambda: sum(1 for _ in shards.samples("train"))


def whole_split(folder: Path) -> Callable[[], object]:
    """The split as one tensor."""
    shards = ShardSet.open(folder)
    return lambda: shards.load("train")


def open_batches(folder: Path, batch_size: int, workers: int | None) -> Batches:
    """Held, or streamed by so many workers, or fetched where GLOW_SHARDS is set."""
    shards = ShardSet.open(folder)
    split = shards.count("train") * shards.image_bytes
    os.environ["GLOW_CACHE_BYTES"] = str(10**12) if workers is None else "0"
    os.environ["GLOW_WORKERS"] = str(workers or 0)
    return Batches.load(
        shards,
        batch_size,
        seed=SEED,
        rank=0,
        world_size=1,
        device=report.device(),
        flip=True,
        shift=0.1,
        window_bytes=-(-split // WINDOWS) if shards.remote else WINDOW_BYTES,
    )


def an_epoch(folder: Path, batch_size: int, workers: int | None) -> Callable[[], object]:
    """As many batches as the split has, one after another."""
    batches = open_batches(folder, batch_size, workers)
    per_epoch = ShardSet.open(folder).count("train") // batch_size
    steps = iter(range(10**9))

    def work() -> None:
        for _ in range(per_epoch):
            batches(next(steps))

    return work


def fetch_from(url: str, folder: Path, kept: Path) -> None:
    """Sets where shards are fetched from, and that half of them are kept."""
    size = sum(file.stat().st_size for file in (folder / "train").iterdir())
    os.environ["GLOW_SHARDS"] = url
    os.environ["GLOW_SHARD_CACHE"] = str(kept)
    os.environ["GLOW_SHARD_CACHE_BYTES"] = str(2 * size // WINDOWS + size // 100)


def a_fetched_epoch(folder: Path, batch_size: int, url: str, kept: Path) -> Callable[[], object]:
    """As `an_epoch` of a worker, of shards on a server."""
    fetch_from(url, folder, kept)
    return an_epoch(folder, batch_size, 1)


def training_on_fetched(folder: Path, url: str, kept: Path) -> Callable[[], object]:
    """As `training`, on shards on a server."""
    fetch_from(url, folder, kept)
    return training(folder, 1)


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Python's own, in a process; its URL."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().split(' port ')[1].split()[0]}"
        server.terminate()


def training(folder: Path, workers: int | None) -> Callable[[], object]:
    """Steps of the trainer of params.yaml."""
    params = load_params()
    batches = open_batches(folder, params.train.batch_size, workers)
    torch.manual_seed(SEED)
    first, _ = ShardSet.open(folder).load("train", 256, device=batches.device)
    model = params.model.model_dump(exclude={"conditional"})
    glow = Glow(GlowConfig(image_size=first.shape[-1], n_bits=N_BITS, **model)).to(batches.device)
    glow.initialize(dequantize(first, N_BITS))
    how = params.train.model_dump(include=set(TrainConfig.__dataclass_fields__))
    how |= {"steps": 10**9, "learning_rate": 1e-5, "decay_steps": 0}  # noise is not to be learnt
    steps = Trainer(glow, TrainConfig(**how), seed=SEED).train(batches)
    return lambda: [next(steps) for _ in range(STEPS)]


def measure(n_images: int, side: int, rounds: int) -> report.Rows:
    """A row for every way to read, at one size."""
    batch_size = load_params().train.batch_size
    with tempfile.TemporaryDirectory() as name, web_server(Path(name)) as url:
        folder = Path(name)
        write_shards(folder, n_images, side)
        epoch = {"folder": folder, "batch_size": batch_size}
        contestants = [
            Contestant("one by one", one_by_one, {"folder": folder}),
            Contestant("whole split", whole_split, {"folder": folder}),
            *(
                Contestant(_streamed(workers), an_epoch, {**epoch, "workers": workers})
                for workers in (0, 1, 2)
            ),
            Contestant(HELD, an_epoch, {**epoch, "workers": None}),
            Contestant(TRAINED, training, {"folder": folder, "workers": None}),
            Contestant("trained on a stream", training, {"folder": folder, "workers": 1}),
            Contestant(FETCHED, a_fetched_epoch, {**epoch, "url": url, "kept": folder / "a"}),
            Contestant(
                "trained on fetched",
                training_on_fetched,
                {"folder": folder, "url": url, "kept": folder / "b"},
            ),
        ]
        times = seconds(contestants, rounds, f"{side}x{side}")
    rates = {
        name: (STEPS * batch_size if name.startswith("trained") else n_images)
        / statistics.median(taken)
        for name, taken in times.items()
    }
    return [
        {
            "side": side,
            "reading": name,
            "images_per_second": round(rate),
            "of_training": round(rate / rates[TRAINED], 2),
        }
        for name, rate in rates.items()
    ]


def _streamed(workers: int) -> str:
    return f"streamed by {workers} workers, moved"


def plot(rows: list[dict[str, Any]]) -> Figure:
    """Bars on a logarithmic axis, a panel for each size; the line is what training takes."""
    sides = sorted({row["side"] for row in rows})
    figure = Figure(figsize=(5.5 * len(sides), 3.2), layout="constrained")
    panels = figure.subplots(1, len(sides), sharey=True, squeeze=False)[0]
    for axes, side in zip(panels, sides, strict=True):
        here = [row for row in rows if row["side"] == side]
        bars = axes.barh(
            [row["reading"] for row in here], [row["images_per_second"] for row in here]
        )
        axes.bar_label(bars, fmt="{:,.0f}", padding=3)
        trained = next(row for row in here if row["reading"] == TRAINED)
        axes.axvline(trained["images_per_second"], color="black", linewidth=1)
        axes.set_xscale("log")
        axes.set_xlim(10, 10 * max(row["images_per_second"] for row in rows))
        axes.set_title(f"{side}x{side}")
        axes.set_xlabel("images per second")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    return figure


def command(
    *,
    side: Annotated[list[int], typer.Option(help="of the images; may be repeated")] = SIDES,
    n_images: Annotated[int, typer.Option(help="of the synthetic split")] = 8000,
    rounds: Annotated[int, typer.Option(help="times everything is timed")] = 7,
    out: Annotated[Path, typer.Option(help="JSON to write, Markdown and PNG beside it")] = Path(
        "benchmarks/results/loader.json"
    ),
) -> None:
    """Time every way to read shards, and training, in interleaved rounds."""
    rows = [row for size in side for row in measure(n_images, size, rounds)]
    sizes = " ".join(f"--side {size}" for size in side)
    said = f"python benchmarks/loader.py {sizes} --n-images {n_images} --rounds {rounds}"
    batch_size = load_params().train.batch_size
    about = report.about(said, seed=SEED, batch_size=batch_size, numpy=np.__version__)
    report.save(out, about, rows, plot(rows))


if __name__ == "__main__":
    typer.run(command)
