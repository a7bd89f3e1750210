"""Milliseconds of a slider's move in the editor, with one client and with four at once.

"HTTP" is from a request to the whole PNG, each client asking again as soon as it has its answer.
"browser" is in headless Chromium, whose pages run on the same cores as the server: a slider moves
at every frame of the screen, and the time is from the first movement that is not shown yet to the
face on the page, so that it holds the wait for the request before.

    python benchmarks/editor.py
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import report
import typer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from chromium import chromium, missing  # noqa: E402 - found by the path above

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WARM_UP = 1.0  # seconds that are not counted
ATTRIBUTE = "Smiling"
DRAG = """
seconds => new Promise(done => {
  const slider = document.querySelector("[data-attribute]");
  const start = performance.now();
  const move = now => {
    const at = (now - start) / 1000;
    slider.value = 2 * Math.sin(3 * at);
    slider.dispatchEvent(new Event("input"));
    if (at < seconds) return requestAnimationFrame(move);
    const moves = performance.getEntriesByName("move");
    const counted = moves.filter(it => it.startTime > start + WARM_UP);
    done(counted.map(it => it.duration));
  };
  requestAnimationFrame(move);
})
""".replace("WARM_UP", str(1000 * WARM_UP))


@contextmanager
def editor(model: Path) -> Iterator[str]:
    """The address of a running one."""
    command = [sys.executable, "-m", "glow", "editor", "--model", str(model), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "http://" not in line:
            raise SystemExit("error: the editor did not start; it says why above")
        try:
            yield line.split()[4]
        finally:
            process.terminate()


def ask(address: str, client: int, seconds: float) -> list[float]:
    """Milliseconds of each answer to one client."""
    times = []
    with httpx.Client(base_url=address, timeout=60.0) as http:
        headers = {"X-Session": http.post("/api/session").json()["session"]}
        start = time.perf_counter()
        while (began := time.perf_counter()) < start + WARM_UP + seconds:
            alpha = 2 * (len(times) % 41 - 20) / 20
            look = {"base": {"seed": client, "temperature": 0.7}, "edits": {ATTRIBUTE: alpha}}
            http.post("/api/face", json=look, headers=headers).raise_for_status()
            if began > start + WARM_UP:
                times.append(1000 * (time.perf_counter() - began))
    return times


def ask_at_once(address: str, clients: int, seconds: float) -> list[float]:
    """Of all clients."""
    with ThreadPoolExecutor(clients) as pool:
        parts = pool.map(lambda client: ask(address, client, seconds), range(clients))
        return [value for part in parts for value in part]


def drag_at_once(browser: "Browser", address: str, clients: int, seconds: float) -> list[float]:
    """Of all pages, each in its own session."""
    pages = [browser.new_context().new_page() for _ in range(clients)]
    for page in pages:
        page.goto(address, wait_until="networkidle")
    for page in pages:
        page.evaluate(f"seconds => {{ window.dragged = ({DRAG})(seconds) }}", WARM_UP + seconds)
    times = [value for page in pages for value in page.evaluate("window.dragged")]
    for page in pages:
        page.context.close()
    return times


def row(where: str, clients: int, times: list[float], seconds: float) -> dict[str, Any]:
    """Quantiles of the moves that were shown."""
    return {
        "where": where,
        "clients": clients,
        "moves": len(times),
        "moves_per_second_each": round(len(times) / clients / seconds, 1),
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(statistics.quantiles(times, n=20, method="inclusive")[-1], 1),
        "max_ms": round(max(times), 1),
    }


def command(
    *,
    model: Annotated[Path, typer.Option(help="folder of the model")] = Path("models/glow"),
    seconds: Annotated[float, typer.Option(help="of every row")] = 8.0,
    out: Annotated[Path, typer.Option(help="JSON to write, Markdown beside it")] = Path(
        "benchmarks/results/editor.json"
    ),
) -> None:
    """Measure the editor's moves with 1 and 4 clients at once."""
    rows = []
    if reason := missing():
        typer.echo(f"no rows of the browser: {reason}", err=True)
    with editor(model) as address:
        for clients in (1, 4):
            times = ask_at_once(address, clients, seconds)
            rows.append(row("HTTP", clients, times, seconds))
        if not reason:
            with chromium() as browser:
                for clients in (1, 4):
                    times = drag_at_once(browser, address, clients, seconds)
                    rows.append(row("browser", clients, times, seconds))
    said = f"python benchmarks/editor.py --model {model} --seconds {seconds:g}"
    report.save(out, report.about(said), rows)


if __name__ == "__main__":
    typer.run(command)
