"""`python -m glow --model`: a model in MLflow or in a DVC project, read as a folder is."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tracked import FACTS, FINGERPRINT, Client, runs
from typer.testing import CliRunner

from glow.apps.cli import app
from glow.apps.fetch import dvc_parts
from glow.weights import KEY, weights_hash
from stages import tracking

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output or result.exception
    return result.output


@pytest.fixture
def registered(
    client: Client, project: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> Client:
    """A champion with vectors, seen from the folder that has the store and nothing else."""
    with tracking.training_run(FINGERPRINT, {}) as tracked:
        tracked.model(model, **FACTS)
    vectors = project / "vectors.safetensors"
    save_file({"Smiling": torch.ones(3 * 8 * 8)}, vectors, {KEY: weights_hash(model)})
    with tracking.same_run(FINGERPRINT) as tracked:
        tracked.attribute_vectors(vectors)
    (model / "model.safetensors").rename(project / "weights")
    monkeypatch.chdir(project)
    return client


def test_a_model_in_mlflow_is_found_by_alias_version_and_run(
    registered: Client, project: Path
) -> None:
    (trained,) = runs(registered)
    code = set(sys.modules)
    for name in ("models:/glow@champion", "models:/glow/1", f"runs:/{trained.info.run_id}"):
        assert run("edit", "--model", name) == "Smiling\n"
    assert not any("served_model" in module for module in set(sys.modules) - code)
    run("sample", "--model", "models:/glow@champion", "-n", "4", "-o", "four.png")

    for name, said in (
        ("models:/glow@best", "best not found"),
        ("models:/glow/7", "version=7"),
        ("models:/glow", "expected models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("runs:/0000", "0000"),
    ):
        output = run("sample", "--model", name, code=2)
        assert output.startswith("error: ")
        assert output.count("\n") == 1
        assert said in output


def test_a_model_of_mlflow_may_have_an_at_sign_in_its_name(registered: Client) -> None:
    name, trained = "glow@home", registered.get_model_version("glow", "1")
    registered.create_registered_model(name)
    registered.create_model_version(name, trained.source, model_id=trained.model_id)
    registered.set_registered_model_alias(name, "best", "1")
    for model in (f"models:/{name}@best", f"models:/{name}/1"):
        assert "parameters: " in run("describe", "--model", model)


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("..::models/glow", ("..", "models/glow", "")),
        ("::", ("", "models/glow", "")),
        ("https://[2001:db8::7]/glow.git::m@v1", ("https://[2001:db8::7]/glow.git", "m", "v1")),
        (
            "git@host:glow.git::models/glow@glow@v1.0.0",
            ("git@host:glow.git", "models/glow", "glow@v1.0.0"),
        ),
    ],
)
def test_a_model_of_dvc_is_split_where_its_parts_end(
    model: str, parts: tuple[str, str, str]
) -> None:
    assert dvc_parts(model) == parts


def test_a_folder_is_a_folder_whatever_its_name(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, "mine::glow@home")
    assert "parameters: " in run("describe", "--model", "mine::glow@home")


def test_a_model_of_a_dvc_project_comes_with_its_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "parameters: " in run("describe", "--model", f"{ROOT}::models/glow")
    names = run("edit", "--model", f"{ROOT}::")
    assert "Smiling" in names.splitlines()
    at_head = run("edit", "--model", f"{ROOT}::models/glow@HEAD")
    assert set(names.splitlines()[-10:]) == set(at_head.splitlines()[-10:])
    for name in (f"{ROOT}::models/none", f"{ROOT}::models/glow@none", f"{tmp_path}::"):
        output = run("describe", "--model", name, code=2)
        assert re.fullmatch(r"error: DVC does not give .*\n", output)
