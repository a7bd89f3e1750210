"""A little DVC project in place of the real one, and one Prefect server for the session."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from prefect.client.orchestration import SyncPrefectClient, get_client

DVC_YAML = """
stages:
  last:
    cmd: ${commands.last}
    deps: [middle.txt]
    outs:
      - last.txt
      - last.png
      - pictures
      - parts:
          cache: false
    metrics:
      - last.json:
          cache: false
  first:
    cmd: ${commands.first}
    params: [number]
    outs: [first.txt]
  middle:
    cmd: ${commands.middle}
    deps: [first.txt]
    outs: [middle.txt]
"""

PARAMS = """\
# a comment at the top
number: 1          # of the first stage
rate: 2.0e-3
temperatures: [0.5, 1.0]   # a list on one line
nothing: null
commands:
  first: >-
    cp params.yaml first.txt; echo $GLOW_FLOW_RUN > flow_run.log;
    echo $DVC_EXP_NAME > experiment.log
  middle: cp first.txt middle.txt
  last: >-
    cp middle.txt last.txt; cp logo.png last.png; echo '{"loss":1.5,"a":{"b":2}}' > last.json;
    mkdir -p pictures/all parts; cp middle.txt pictures/all/0; cp middle.txt parts/0
"""


@pytest.fixture(scope="session")
def empty_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, since `dvc init` takes a second."""
    root = tmp_path_factory.mktemp("project")
    dvc = [sys.executable, "-m", "dvc"]
    for command in (["git", "init", "--quiet"], [*dvc, "init", "--quiet"]):
        subprocess.run(command, cwd=root, check=True)
    for setting in ("core.analytics", "core.check_update"):
        subprocess.run([*dvc, "config", setting, "false"], cwd=root, check=True)
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "params.yaml").write_text(PARAMS)
    Image.new("RGB", (4, 4), "red").save(root / "logo.png")
    name = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    for git in (["add", "."], [*name, "commit", "--quiet", "-m", "first"]):
        subprocess.run(["git", *git], cwd=root, check=True)
    return root


@pytest.fixture
def project(empty_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three stages in a row, written in another order, whose commands are params.

    Of the outputs some are files and some folders, of both kinds some in DVC's cache.
    """
    root = tmp_path / "project"
    shutil.copytree(empty_project, root)
    monkeypatch.setenv("GLOW_ROOT", str(root))
    return root


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """The URL of a server with an empty database."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    os.environ.setdefault("DO_NOT_TRACK", "true")
    with prefect_test_harness(server_startup_timeout=150):
        url = PREFECT_API_URL.value()
        assert url is not None
        yield url


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client
