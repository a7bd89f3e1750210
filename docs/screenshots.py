"""The pictures of the MLflow UI in these docs, each made by the clicks that comparing.md tells of.

    pip install -c constraints.txt -e '.[docs]' && apt-get install chromium
    python docs/screenshots.py                      # or the names of some: table curves

They show the runs of mlflow.db, so run the sweep of comparing.md first. The MLflow server is
started here; the browser reaches it and nothing else.
"""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from stages.tracking import SETTINGS

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from chromium import chromium  # noqa: E402 - found by the path above

START_SECONDS, UI_SECONDS = 120.0, 60.0
SIZE = {"width": 1500, "height": 900}
THREE_COLUMNS = {"width": 1120, "height": 1150}  # of images
MAX_BYTES, COLOURS = 320_000, (256, 128, 64, 32)
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
STATISTICS = ["sample_bits_per_dim", "sharpness", "diversity", "clipped_share"]


@dataclass
class Ui:
    """The MLflow UI in a page of the browser."""

    address: str
    page: Page

    def open_runs(self, experiment: str, *, charts: bool = False) -> None:
        """The runs of an experiment as a table or, all of them, as charts."""
        mode = "&compareRunsMode=CHART" if charts else ""
        where = f"experiments/{self._experiment(experiment)}/runs"
        self._go(f"{where}?workflowType=machine_learning{mode}")
        self._wait_for_runs()
        if charts:
            self.page.get_by_test_id("experiment-view-runs-visibility-column-header").click()
            self.page.get_by_text("Show all runs").click()
            self.page.keyboard.press("Escape")

    def open_run(self, experiment: str, tab: str = "") -> None:
        """The finished training with the fewest bits per dimension."""
        number = self._experiment(experiment)
        query = {
            "experiment_ids": [number],
            "filter": "attributes.status = 'FINISHED'",
            "order_by": ["metrics.valid_bits_per_dim ASC"],
            "max_results": 1,
        }
        (found,) = self._ask("runs/search", query)["runs"]
        run = found["info"]["run_id"]
        self._go(f"experiments/{number}/runs/{run}{tab}?workflowType=machine_learning")

    def open_models(self) -> None:
        """The versions of the registered model."""
        self._go("models/glow?workflowType=machine_learning")

    def search(self, condition: str) -> None:
        """The runs that a condition lets through."""
        field = self.page.get_by_placeholder("metrics.rmse < 1")
        field.fill(condition)
        field.press("Enter")
        self.page.get_by_role("heading", name="Runs").click()  # closes the help on conditions
        self._wait_for_runs()

    def sort(self, by: str, way: str = "asc") -> None:
        """Sort > a name > ascending or, `desc`, descending."""
        self.page.get_by_test_id("sort-select-dropdown").click()
        self.page.get_by_test_id(f"sort-select-{way}").click()
        self.page.get_by_test_id("sort-select-dropdown").click()
        self.page.get_by_role("menu").get_by_text(by, exact=True).click()
        expect(self.page.get_by_test_id("sort-select-dropdown")).to_contain_text(by)

    def columns(self, names: list[str]) -> None:
        """Columns > tick or untick."""
        self.page.get_by_role("button", name="Columns", exact=True).click()
        for name in names:
            self.page.get_by_placeholder("Search columns").fill(name)
            titles = self.page.locator("[class*=tree-title]")
            titles.get_by_text(name, exact=True).last.click()
        self.page.keyboard.press("Escape")

    def group_by(self, param: str) -> None:
        """Group by > a param."""
        self.page.get_by_role("button", name="Group by").click()
        self.page.get_by_role("menu").get_by_text(param, exact=True).click()

    def add_chart(self, kind: str) -> Locator:
        """Add chart > a kind; the dialog that this opens."""
        self.page.get_by_test_id("experiment-view-compare-runs-add-chart").first.click()
        self.page.get_by_role("menuitem", name=kind).click()
        dialog = self.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        return dialog

    def choose(self, dialog: Locator, field: int, names: list[str]) -> None:
        """In the field of a chart's dialog: 1 is the first below the chart's type."""
        box = dialog.get_by_role("combobox").nth(field)
        for name in names:
            box.click(force=True)  # the chosen value may lie above
            if box.evaluate("field => field.tagName == 'INPUT' && !field.readOnly"):
                box.fill(name)
            options = self.page.locator("[role=option], [class*=select-item-option]")
            options.get_by_text(name, exact=True).locator("visible=true").last.click(force=True)
        dialog.get_by_text("Add new chart").click()

    def confirm(self, dialog: Locator) -> None:
        """The button that ends the dialog of a chart."""
        dialog.get_by_test_id("experiment-view-compare-runs-chart-modal-confirm").click()
        expect(dialog).to_be_hidden()

    def configure_chart(self, title: str) -> Locator:
        """The three dots of a chart > Configure; the dialog that this opens."""
        card = self._card(title)
        card.get_by_test_id("experiment-view-compare-runs-card-menu").click()
        self.page.get_by_role("menuitem", name="Configure").click()
        return self.page.get_by_role("dialog")

    def enlarge(self, title: str) -> None:
        """The chart in full screen."""
        self._card(title).locator("[data-component-id=fullscreen_button_chartcard]").click()

    def _card(self, title: str) -> Locator:
        heading = self.page.get_by_text(title, exact=True)
        card = self.page.get_by_test_id("experiment-view-compare-runs-card").filter(has=heading)
        self.page.get_by_placeholder("Search metric charts").hover()
        deadline = time.monotonic() + UI_SECONDS
        while not card.count() and time.monotonic() < deadline:
            self.page.mouse.wheel(0, SIZE["height"] / 2)  # what is far below is not drawn yet
            self.page.wait_for_timeout(500)
        return card.last

    def _wait_for_runs(self) -> None:
        expect(self.page.get_by_text(re.compile(r"^[1-9]\d* matching run"))).to_be_visible()

    def _experiment(self, name: str) -> str:
        query = urllib.parse.urlencode({"experiment_name": name})
        found = self._ask(f"experiments/get-by-name?{query}")["experiment"]
        return str(found["experiment_id"])

    def _ask(self, what: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/api/2.0/mlflow/{what}", data, headers)
        with urllib.request.urlopen(request, timeout=UI_SECONDS) as answer:
            return json.load(answer)

    def _go(self, where: str) -> None:
        self.page.goto("about:blank")  # a change of the fragment alone loads nothing anew
        self.page.goto(f"{self.address}/#/{where}")


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
