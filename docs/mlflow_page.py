"""MLflow's page, by its clicks."""

import json
import re
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Locator, Page, expect

UI_SECONDS = 60.0
SIZE = {"width": 1500, "height": 900}


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
