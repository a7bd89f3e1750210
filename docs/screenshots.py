"""The pictures of the MLflow UI in these docs, each made by the clicks that comparing.md tells of.

    pip install -c constraints.txt -e '.[docs]' && apt-get install chromium
    python docs/screenshots.py                      # or the names of some: table curves

They show the runs of mlflow.db, so run the sweep of comparing.md first. The MLflow server is
started here; the browser reaches it and nothing else.
"""

import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from mlflow_page import SIZE, UI_SECONDS, Ui
from PIL import Image
from playwright.sync_api import Page, Route, expect

from stages.tracking import SETTINGS

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from chromium import chromium  # noqa: E402 - found by the path above

START_SECONDS = 120.0
THREE_COLUMNS = {"width": 1120, "height": 1150}  # of images
MAX_BYTES, COLOURS = 320_000, (256, 128, 64, 32)
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
STATISTICS = ["sample_bits_per_dim", "sharpness", "diversity", "clipped_share"]


def table(ui: Ui) -> None:
    """Sample runs as rows: temperature, depth and the statistics as columns."""
    ui.open_runs("glow-samples")
    ui.columns(["Dataset", "Source", "Models", *STATISTICS, "depth", "temperature"])
    ui.sort("Run Name")


def samples(ui: Ui) -> None:
    """Sample runs as charts, before anything is added."""
    ui.open_runs("glow-samples", charts=True)
    ui.sort("Run Name")


def parallel(ui: Ui) -> None:
    """A line per sample run through depth, temperature and the statistics."""
    ui.open_runs("glow-samples", charts=True)
    dialog = ui.add_chart("Parallel coordinates")
    ui.choose(dialog, 1, ["depth", "temperature"])
    ui.choose(dialog, 2, ["clipped_share", "diversity", "sharpness", "sample_bits_per_dim"])
    ui.confirm(dialog)
    ui.enlarge("Parallel Coordinates")


def contour(ui: Ui) -> None:
    """Bits per dimension of the samples over temperature and depth."""
    ui.open_runs("glow-samples", charts=True)
    dialog = ui.add_chart("Contour chart")
    for field, name in enumerate(["temperature", "depth", "sample_bits_per_dim"], start=1):
        ui.choose(dialog, field, [name])
    ui.confirm(dialog)
    ui.enlarge("temperature vs. depth vs. sample_bits_per_dim")


def scatter(ui: Ui) -> None:
    """Sharpness against temperature."""
    ui.open_runs("glow-samples", charts=True)
    dialog = ui.add_chart("Scatter chart")
    for field, name in enumerate(["temperature", "sharpness"], start=1):
        ui.choose(dialog, field, [name])
    ui.confirm(dialog)
    ui.enlarge("temperature vs. sharpness")


def images(ui: Ui) -> None:
    """The same latents, a row per depth, a column per temperature; ten runs at most are drawn."""
    ui.page.set_viewport_size(THREE_COLUMNS)
    ui.open_runs("glow-samples", charts=True)
    ui.search("params.temperature != '0.5' AND params.temperature != '0.85'")
    ui.sort("Run Name", "desc")
    dialog = ui.configure_chart("samples")
    dialog.get_by_text("Show run parameters").click()
    ui.confirm(dialog)
    ui.enlarge("samples")


def curves(ui: Ui) -> None:
    """Trainings of several depths in one chart."""
    ui.open_runs("glow", charts=True)
    ui.group_by("model.depth")
    ui.enlarge("valid_bits_per_dim")


def run(ui: Ui) -> None:
    """A training: where it comes from, its numbers, its settings."""
    ui.open_run("glow")


def models(ui: Ui) -> None:
    """The registered model's versions."""
    ui.open_models()


PICTURES: dict[str, Callable[[Ui], None]] = {
    view.__name__: view
    for view in (table, samples, parallel, contour, scatter, images, curves, run, models)
}


@contextmanager
def server(store: Path) -> Iterator[str]:
    """`mlflow server` on a store, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{store}"]
    env = {**os.environ, **SETTINGS, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not answers(f"http://127.0.0.1:{port}/health"):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"error: the MLflow server did not start:\n{log.read()}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def answers(address: str) -> bool:
    """Whether a server says that it is well."""
    try:
        with urllib.request.urlopen(address, timeout=5.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def settled(page: Page) -> bytes:
    """A PNG of the page once it is at rest: nothing turns any more, so two are the same."""
    page.mouse.move(SIZE["width"] - 1, 1)
    deadline, before = time.monotonic() + UI_SECONDS, b""
    while (now := page.screenshot()) != before:
        if time.monotonic() > deadline:
            raise SystemExit("error: the page does not come to rest")
        before = now
        page.wait_for_timeout(3000)
    return now


def save(png: bytes, file: Path) -> None:
    """As it is or, where that is large, with few colours."""
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").save(file, optimize=True)
        for colours in COLOURS:
            if file.stat().st_size > MAX_BYTES:
                few = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
                few.save(file, optimize=True)


def command(
    names: Annotated[list[str] | None, typer.Argument(help="of pictures; all by default")] = None,
    store: Annotated[Path, typer.Option(help="MLflow's database")] = DOCS.parent / "mlflow.db",
    out: Annotated[Path, typer.Option(help="folder to write mlflow-NAME.png to")] = DOCS,
) -> None:
    """Take the pictures of the MLflow UI."""
    unknown = set(names or ()) - PICTURES.keys()
    if unknown or not store.is_file():
        what = f"no picture {sorted(unknown)}, expected of {list(PICTURES)}"
        print(f"error: {what if unknown else f'no {store}; run the sweep first'}", file=sys.stderr)
        raise typer.Exit(2)
    expect.set_options(timeout=1000 * UI_SECONDS)
    with server(store.resolve()) as address, chromium() as browser:

        def only_the_server(route: Route) -> None:
            if route.request.url.startswith(address):
                route.continue_()
            else:
                route.abort()

        for name in names or PICTURES:
            context = browser.new_context(viewport=SIZE)  # a new user, who has seen nothing yet
            context.set_default_timeout(1000 * UI_SECONDS)
            context.route("**/*", only_the_server)
            context.add_init_script(NO_ASSISTANT)
            page = context.new_page()
            PICTURES[name](Ui(address, page))
            save(settled(page), out / f"mlflow-{name}.png")
            print(out / f"mlflow-{name}.png", (out / f"mlflow-{name}.png").stat().st_size)
            context.close()


if __name__ == "__main__":
    typer.run(command)
