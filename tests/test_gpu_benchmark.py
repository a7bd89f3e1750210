"""The benchmark for a GPU: all of it, tiny, on a CPU; and what it says where something fails."""

import ast
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from glow.schedule import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
PARTS = ("right", "fast", "peers", "deep", "profile", "speedrun")
ALLOWED = {"glow", "torch", "numpy", "pyarrow", "PIL", "matplotlib", "typer"}
OF_PEERS = {"normflows", "jet_pytorch"}  # imported where they are given
HOW = TrainConfig(
    steps=10**6,
    optimizer="adamw",
    learning_rate=1.0,
    warmup_steps=10,
    decay_steps=0,
    max_grad_norm=50.0,
    ema_decay=0.9,
)
BARE = {"PYTHONPATH": f"{BENCHMARKS}{os.pathsep}{ROOT}"}


def call(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **BARE},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def write_images(file: Path, n: int, column: str = "image") -> None:
    """As Hugging Face's hub has CIFAR-10."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(n):
        small = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        content = io.BytesIO()
        small.resize((32, 32)).save(content, "WEBP", lossless=True)
        rows.append({"bytes": content.getvalue(), "path": f"{number}.png"})
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    pq.write_table(pa.table({column: pa.array(rows, kind), "label": [0] * n}), file)


def parts_of(folder: Path) -> dict[str, dict[str, Any]]:
    files = [folder / f"{name}.json" for name in PARTS]
    return {file.stem: json.loads(file.read_text()) for file in files if file.is_file()}


@pytest.mark.slow
def test_a_dry_run_does_all_of_it_and_a_page_shows_it(tmp_path: Path) -> None:
    images, out = tmp_path / "cifar10", tmp_path / "out"
    images.mkdir()
    write_images(images / "train-00000-of-00002.parquet", 100)
    write_images(images / "train-00001-of-00002.parquet", 40)
    write_images(images / "test-00000-of-00001.parquet", 40)
    options = ["--dry-run", "--minutes", "30", "--cifar10", str(images), "--out", str(out)]
    said = call(str(BENCHMARKS / "gpu.py"), *options)

    found = parts_of(out)
    assert list(found) == list(PARTS)
    assert {name for name, part in found.items() if part["status"] != "done"} <= {"peers"}
    assert [line.split()[0] for line in said.splitlines()[-6:]] == list(PARTS)
    assert all(row["holds"] for row in found["right"]["tables"]["checks"])
    assert "passed" in found["right"]["facts"]["proofs"]
    assert not any(row["error"] for row in found["fast"]["tables"]["training"])
    assert not any(row["error"] for row in found["deep"]["tables"]["depths"])
    assert {"steps", "bytes", "operations"} <= found["profile"]["tables"].keys()
    curve = [row["valid_bits_per_dim"] for row in found["speedrun"]["tables"]["curve"]]
    assert curve[-1] < curve[0] < 8.5
    of_test, *_ = found["speedrun"]["tables"]["bits_per_dim"]
    assert (of_test["images"], of_test["draws"]) == (32, 4)
    assert "2 of its files" in found["speedrun"]["facts"]["data"]
    assert Image.open(out / "samples.png").size == (270, 270)
    assert {file.name for file in (out / "glow").iterdir()} == {"config.json", "model.safetensors"}

    page = tmp_path / "page" / "gpu.md"
    call(str(BENCHMARKS / "gpu_report.py"), str(out), "--out", str(page))
    text = page.read_text()
    assert all(f"## {name}" in text for name in PARTS)
    for name in ("gpu-fast.png", "gpu-deep.png", "gpu-speedrun.png", "gpu-samples-0.7.png"):
        assert f"]({name})" in text
        assert (page.parent / name).is_file()


def test_a_part_that_fails_says_why_and_the_next_one_runs(tmp_path: Path) -> None:
    images, out = tmp_path / "cifar10", tmp_path / "out"
    images.mkdir()
    write_images(images / "train.parquet", 3, column="pixels")
    write_images(images / "test.parquet", 3)
    options = ["--dry-run", "--minutes", "30", "--only", "deep,speedrun", "--out", str(out)]
    said = call(str(BENCHMARKS / "gpu.py"), *options, "--cifar10", str(images), code=1)
    found = parts_of(out)
    assert [part["status"] for part in found.values()] == ["done", "failed"]
    assert "expected one of encoded images, 'image'" in found["speedrun"]["headline"]
    assert "in _encoded" in found["speedrun"]["traceback"]
    assert said.splitlines()[-1].split()[:2] == ["speedrun", "failed"]
    page = tmp_path / "gpu.md"
    call(str(BENCHMARKS / "gpu_report.py"), str(out), "--out", str(page))
    assert "Traceback" in page.read_text()


STUCK = """
import sys, time, types
from pathlib import Path
from gpu_parts import __main__ as process
from gpu_parts.settings import Settings

def run(settings, record):
    record.row("rows", found=1)
    waiting_for_the_device()

def waiting_for_the_device():
    time.sleep(600)

sys.modules["gpu_parts.stuck"] = module = types.ModuleType("gpu_parts.stuck")
module.run = run
process.main("stuck", Settings(out=Path(sys.argv[1]), began=time.monotonic(), seconds=4).text)
"""


def test_a_part_that_hangs_says_where_and_ends(tmp_path: Path) -> None:
    began = time.monotonic()
    said = call("-c", STUCK, str(tmp_path), code=1)
    assert time.monotonic() - began < 120
    assert "in waiting_for_the_device" in said
    found = json.loads((tmp_path / "stuck.json").read_text())
    assert (found["status"], found["tables"]) == ("running", {"rows": [{"found": 1}]})


def test_a_part_out_of_time_is_ended(tmp_path: Path) -> None:
    options = ["--dry-run", "--minutes", "0.01", "--only", "right,speedrun"]
    call(str(BENCHMARKS / "gpu.py"), *options, "--out", str(tmp_path), code=1)
    found = parts_of(tmp_path)
    assert found["right"]["status"] == found["speedrun"]["status"] == "out of time"


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (["--only", "quick"], "no part 'quick', expected of right, fast"),
        (["--set", "depth=deep"], "'depth=deep', expected NAME=VALUE, NAME of n_levels, depth"),
        (["--set", "deep=3"], "'deep=3', expected NAME=VALUE"),
        (["--set", "optimizer=sgd"], "optimizer is 'sgd', expected muon, adamw, adamax"),
    ],
)
def test_what_it_does_not_know_it_says(tmp_path: Path, option: list[str], expected: str) -> None:
    said = call(str(BENCHMARKS / "gpu.py"), *option, "--out", str(tmp_path / "out"), code=2)
    assert expected in " ".join(said.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its modules, which no package has."""
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.mark.usefixtures("importable")
def test_bytes_are_those_that_an_operation_reads_and_writes() -> None:
    from gpu_parts.traffic import traffic_of

    a, b = torch.ones(10), torch.ones(10)
    grad_input = torch.ops.aten.threshold_backward.grad_input
    for work, numbers in [
        (lambda: a + b, 30),
        (lambda: a.add_(b), 30),
        (lambda: torch.add(a, b, out=a), 30),
        (lambda: a.view(2, 5).T, 0),
        (lambda: a.expand(100, 10).clone(), 1010),
        (lambda: torch.empty(10), 0),
        (lambda: grad_input(a, b, 0, grad_input=b), 30),
    ]:
        assert traffic_of(work).gb == pytest.approx(4e-9 * numbers)


@pytest.mark.usefixtures("importable")
def test_every_pass_has_every_image_once_and_half_of_them_mirrored() -> None:
    from gpu_parts.race import Batches

    levels = torch.zeros(1000, 1, 1, 2, dtype=torch.uint8)
    levels[:, 0, 0, 0] = 1
    levels[:, 0, 0] *= torch.arange(1000)[:, None] % 250 + 1  # which image, where it begins
    batches, again = Batches(levels, 100, seed=0), Batches(levels, 100, seed=0)
    passes = [torch.cat([batches(10 * n + i).levels for i in range(10)]) for n in range(2)]
    for each in passes:
        assert each.sum(dim=3).flatten().sort()[0].equal(levels.sum(dim=3).flatten().sort()[0])
        assert 400 < int((each[..., 1] > 0).sum()) < 600
    assert not passes[0].equal(passes[1])
    assert again(13).levels.equal(passes[1][300:400])


@pytest.mark.usefixtures("importable")
def test_steps_are_planned_to_end_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpu_parts import pace
    from gpu_parts.settings import Speedrun

    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: clock.now))
    trainer = SimpleNamespace(step=5, config=HOW)
    planned = pace.Pace(trainer, Speedrun(), ends=210.0, seconds_per_step=0.1)
    planned.aside = 10.0
    planned.plan()
    assert (trainer.config.steps, trainer.config.decay_steps) == (1005, 502)
    while trainer.step < trainer.config.steps:  # twice as slow as it seemed
        trainer.step, clock.now = trainer.step + 1, clock.now + 0.2
        if trainer.step % 7 == 0:
            planned.plan()
    assert trainer.step == pytest.approx(505, abs=3)
    assert clock.now == pytest.approx(200.0, abs=0.5)
    assert trainer.config.learning_rate_at(trainer.step - 1) < 1e-3


def test_it_needs_no_package_but_those_it_names() -> None:
    files = [*BENCHMARKS.glob("gpu*.py"), *(BENCHMARKS / "gpu_parts").glob("*.py")]
    names = {"gpu_parts"}
    names |= {"paper", "peer", "report"}  # which lie beside it
    files += [BENCHMARKS / "paper.py", BENCHMARKS / "report.py"]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            for module in modules:
                root = module.partition(".")[0]
                known = root in sys.stdlib_module_names or root in ALLOWED | OF_PEERS | names
                assert known, f"{file.name} imports {module}"
                assert not module.startswith("glow.apps"), f"{file.name} imports {module}"
