"""Outputs for other people: through an S3 server, and through a cache that clones share."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import BUCKET, KEYS, bucket, s3_client, without_account

DVC_YAML = """
stages:
  shards:
    cmd: mkdir shards && cp params.yaml shards/0 && cp dvc.yaml shards/1
    params: [number]
    outs:
      - shards:
          push: false
  model:
    cmd: mkdir model && cat shards/0 > model/weights && echo config > model/config
    deps: [shards]
    params: [rate]
    outs: [model]
  samples:
    cmd: cp model/weights samples.txt
    deps: [model]
    outs: [samples.txt]
"""


def call(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def dvc(folder: Path, *arguments: str) -> str:
    return call(folder, sys.executable, "-m", "dvc", *arguments)


def git(folder: Path, *arguments: str) -> str:
    return call(folder, "git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", *arguments)


def ran(output: str) -> list[str]:
    """The stages that `dvc repro` ran."""
    return re.findall(r"^Running stage '(.*)':", output, re.MULTILINE)


@pytest.fixture
def built(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project, built once, on a machine that knows no account."""
    without_account(monkeypatch, project.parent)
    (project / "dvc.yaml").write_text(DVC_YAML)
    dvc(project, "repro")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "Build")
    return project


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[str]:
    """The URL of an S3 server with one empty bucket."""
    with bucket(tmp_path / "s3.log") as url:
        yield url


def use(project: Path, url: str) -> None:
    """As docs/store.md says it."""
    dvc(project, "remote", "add", "--local", "--default", "lab", f"s3://{BUCKET}/glow")
    settings = ("endpointurl", url), ("access_key_id", KEYS[0]), ("secret_access_key", KEYS[1])
    for name, value in settings:
        dvc(project, "remote", "modify", "--local", "lab", name, value)


@pytest.mark.server
def test_what_is_pushed_to_s3_is_pulled_elsewhere(built: Path, s3: str, tmp_path: Path) -> None:
    use(built, s3)
    dvc(built, "push")
    objects = s3_client(s3).list_objects_v2(Bucket=BUCKET)["Contents"]
    assert len(objects) == 3  # a folder and its two files; samples.txt is one of them

    elsewhere = tmp_path / "elsewhere"
    git(tmp_path, "clone", "--quiet", str(built), str(elsewhere))
    use(elsewhere, s3)
    told = dvc(elsewhere, "pull", "model", "samples")
    assert "WARNING" not in told
    for file in ("model/weights", "model/config", "samples.txt"):
        assert (elsewhere / file).read_bytes() == (built / file).read_bytes()
    assert not (elsewhere / "shards").exists()
    assert ran(dvc(elsewhere, "repro", "--allow-missing")) == []
    assert ran(dvc(elsewhere, "repro")) == ["shards"]  # which are not in the bucket
    assert git(elsewhere, "status", "--porcelain") == ""  # no key is in a tracked file


def test_clones_share_a_cache_and_not_what_they_change(built: Path, tmp_path: Path) -> None:
    """By hard links, so that an output that was overwritten in place would show in the other."""
    second = tmp_path / "second"
    git(tmp_path, "clone", "--quiet", str(built), str(second))
    for clone in (built, second):
        dvc(clone, "cache", "dir", "--local", str(tmp_path / "cache"))
        dvc(clone, "config", "--local", "cache.type", "hardlink,copy")
    shutil.rmtree(built / ".dvc/cache")
    dvc(built, "commit", "--force")
    before = (built / "model/weights").read_bytes()

    dvc(second, "checkout")
    assert (second / "model/weights").stat().st_nlink > 1
    assert ran(dvc(second, "repro")) == []

    params = (second / "params.yaml").read_text()
    (second / "params.yaml").write_text(params.replace("number: 1 ", "number: 2 "))
    assert ran(dvc(second, "repro")) == ["shards", "model", "samples"]
    assert (second / "model/weights").read_bytes() != before
    assert (built / "model/weights").read_bytes() == before
