"""The default model in the committed store: a fresh clone of HEAD pulls it, and it is HEAD's.

Uncommitted changes play no part. A commit after which the default pipeline would run again fails
here until its outputs are in the store: docs/store.md.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
STORE = Path(".dvc/store/files/md5")
BYTES = 10_000_000  # git never forgets: each new model adds about this much to every clone


def call(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone") / "glow"
    call(ROOT, "git", "clone", "--quiet", str(ROOT), str(folder))
    return folder


@pytest.fixture(scope="module")
def pulled(clone: Path) -> str:
    """What `dvc pull` says in the clone."""
    return call(clone, sys.executable, "-m", "dvc", "pull")


def read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(file.read_text(encoding="utf-8"))["stages"]
    return content


def options(about: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of the outputs of a stage of dvc.yaml, by path."""
    outs = [out for kind in ("outs", "metrics", "plots") for out in about.get(kind, [])]
    return {k: v for out in outs for k, v in ({out: {}} if isinstance(out, str) else out).items()}


def named(clone: Path) -> set[str]:
    """The hashes that dvc.lock names of what is cached and pushed, folders with their content."""
    flags: dict[str, dict[str, Any]] = {}
    for about in read(clone / "dvc.yaml").values():
        flags |= options(about)
    hashes = {
        out["md5"]
        for about in read(clone / "dvc.lock").values()
        for out in about["outs"]
        if flags[out["path"]].get("cache", True) and flags[out["path"]].get("push", True)
    }
    for folder in [value for value in hashes if value.endswith(".dir")]:
        content = json.loads((clone / STORE / folder[:2] / folder[2:]).read_bytes())
        hashes |= {file["md5"] for file in content}
    return hashes


def test_the_store_holds_what_dvc_lock_names_and_no_more(clone: Path) -> None:
    files = {f.parent.name + f.name: f for f in (clone / STORE).rglob("*") if f.is_file()}
    assert set(files) == named(clone)
    for value, file in files.items():
        md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False)
        assert md5.hexdigest() == value.removesuffix(".dir")


def test_the_store_is_small(clone: Path) -> None:
    files = [file for file in (clone / ".dvc/store").rglob("*") if file.is_file()]
    assert 0 < sum(file.stat().st_size for file in files) < BYTES


def test_it_is_the_model_of_the_present_code_and_params(clone: Path, pulled: str) -> None:
    assert "WARNING" not in pulled
    status = call(clone, sys.executable, "-m", "dvc", "repro", "--allow-missing", "--dry")
    assert "Running stage" not in status
    assert "Data and pipelines are up to date." in status


def test_nothing_git_knows_of_is_changed_by_a_pull(clone: Path, pulled: str) -> None:
    assert "fetched" in pulled
    assert call(clone, "git", "status", "--porcelain") == ""


@pytest.mark.usefixtures("pulled")
def test_its_samples_are_as_sharp_and_as_diverse_as_those_of_the_pipeline(clone: Path) -> None:
    drawn = clone.parent / "faces.png"
    command = ["-m", "glow", "sample", "--temperature", "0.7", "-n", "64", "-o", str(drawn)]
    call(clone, sys.executable, *command)
    expected = json.loads((clone / "results/samples.json").read_text())["0.7"]
    pixels = np.asarray(Image.open(drawn), dtype=np.float64) / 256
    side = pixels.shape[0] // 8
    faces = pixels.reshape(8, side, 8, side, 3).swapaxes(1, 2).reshape(64, side, side, 3)
    steps = np.abs(np.diff(faces, axis=1)).mean(), np.abs(np.diff(faces, axis=2)).mean()
    assert np.mean(steps) == pytest.approx(expected["sharpness"], rel=0.15)
    assert faces.std(axis=0).mean() == pytest.approx(expected["diversity"], rel=0.15)
