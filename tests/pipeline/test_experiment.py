"""Experiments: names of any text, valid, and different where the texts are; saved in any case."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect.logging import disable_run_logger

from pipeline.experiment import MAX_BYTES, experiment_name, keep_as_experiment, reference

DVC = [sys.executable, "-m", "dvc"]

ALIKE = ["a b", "a/b", "a_b", "a b ", "-a b", "A b", "深度", "学习率", "///", "x" * 300, "x" * 301]


@pytest.mark.parametrize("name", ["bold-fox", "depth=16", "größe_1", "a-1-rate=0_5", "v+1"])
def test_a_name_that_can_be_one_stays(name: str) -> None:
    assert experiment_name(name) == name


def test_free_text_is_still_to_be_read() -> None:
    assert experiment_name("depth 16 / lr 1e-3").rpartition("-")[0] == "depth_16_lr_1e-3"
    assert experiment_name("深度 16").rpartition("-")[0] == "深度_16"


def test_names_that_look_alike_are_names_of_their_own() -> None:
    assert len({experiment_name(name).casefold() for name in ALIKE}) == len(ALIKE)


@settings(max_examples=100)
@given(st.text(min_size=1).filter(str.strip) | st.sampled_from(ALIKE))
def test_any_text_gives_a_name_that_git_and_a_shell_take(text: str) -> None:
    name = experiment_name(text)
    assert experiment_name(name) == name == reference(name)
    assert not name.startswith("-")
    assert "/" not in name  # which DVC refuses
    assert len(name.encode()) <= MAX_BYTES
    subprocess.run(["git", "check-ref-format", f"refs/exps/{name}"], check=True)


def test_an_experiment_waits_for_another_dvc_process_and_what_is_staged_stays_so(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([*DVC, "repro", "--quiet"], cwd=project, check=True)
    subprocess.run(["git", "add", ".gitignore"], cwd=project, check=True)
    lock = FileLock(project / ".dvc/tmp/lock")  # DVC's own
    monkeypatch.setattr(time, "sleep", lambda _: lock.release())
    with lock, disable_run_logger():
        keep_as_experiment("kept")
        assert not lock.is_locked
    listed = subprocess.check_output([*DVC, "exp", "list", "--name-only"], cwd=project)
    assert listed.split() == [b"kept"]
    staged = subprocess.check_output(["git", "diff", "--cached", "--name-only"], cwd=project)
    assert staged.split() == [b".gitignore"]
