"""Where runs are kept: in the main checkout, also when a stage runs in a copy of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT
from tracked import connect, runs

from stages.store_address import store_address

STAGE = """
from pathlib import Path
from stages import tracking
with tracking.training_run("0123456789abcdef", {"seed": 0}) as run:
    run.metrics({"loss": 1.0}, step=1)
    run.artifact(Path("dvc.yaml"))
Path("out.txt").write_text(" ".join(sorted(path.name for path in Path().glob("ml*"))))
"""
DVC_YAML = "stages: {train: {cmd: python stage.py, deps: [stage.py], outs: [out.txt]}}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "sqlite:////main/mlflow.db"),
        ("", "sqlite:////main/mlflow.db"),
        ("sqlite:///mlflow.db", "sqlite:////main/mlflow.db"),
        ("sqlite:///a/b.db?timeout=5", "sqlite:////main/a/b.db?timeout=5"),
        ("sqlite+pysqlite:///b.db", "sqlite+pysqlite:////main/b.db"),
        ("sqlite:////srv/b.db", "sqlite:////srv/b.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite://"),
        ("mlruns", "/main/mlruns"),
        ("./a:b", "/main/a:b"),
        ("../mlruns", "/main/../mlruns"),
        ("/srv/mlruns", "/srv/mlruns"),
        ("file:mlruns", "file:///main/mlruns"),
        ("file:./mlruns", "file:///main/mlruns"),
        ("file:///srv/mlruns", "file:///srv/mlruns"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("postgresql://u@h/runs", "postgresql://u@h/runs"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks://profile"),
    ],
)
def test_a_relative_store_is_seen_from_the_main_checkout(given: str | None, expected: str) -> None:
    assert store_address(given, Path("/main")) == expected


def test_the_runs_of_a_copy_that_is_thrown_away_are_in_the_store_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = tmp_path / "main"
    main.mkdir()
    (main / "dvc.yaml").write_text(DVC_YAML)
    (main / "stage.py").write_text(STAGE)
    (main / ".gitignore").write_text("mlflow.db*\nmlartifacts/\n.cache/\n")
    for variable in ("DVC_ROOT", "RANK"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    path = [str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.invalid")
    dvc = [sys.executable, "-m", "dvc"]
    for command in (
        ["git", "init", "--quiet"],
        [*dvc, "init", "--quiet"],
        [*dvc, "config", "core.analytics", "false"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message", "first"],
        [*dvc, "exp", "run", "--temp", "--name", "apart"],
        [*dvc, "exp", "apply", "apart"],
    ):
        subprocess.run(command, cwd=main, check=True, capture_output=True)

    assert (main / "out.txt").read_text() == ""  # no store in the copy
    (found,) = runs(connect(f"sqlite:///{main / 'mlflow.db'}"))
    assert found.data.metrics == {"loss": 1.0}
    assert (main / "mlartifacts/glow" / found.info.run_id / "artifacts/dvc.yaml").is_file()
