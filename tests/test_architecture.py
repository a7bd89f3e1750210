"""The rules of the house: which way imports point, and that dvc.yaml says what the code reads."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.code import files_of, imports
from stages.params import Params

ROOT = Path(__file__).resolve().parents[1]
PIPELINE_ONLY = {"prefect"}
STAGES_ONLY = {"mlflow", "webdataset", "dvc", "ruamel", "yaml", "pandas", "prefect"}
STAGES: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def roots(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("file", files("glow"), ids=str)
def test_glow_knows_nothing_of_the_pipeline(file: Path) -> None:
    if "apps" not in file.parts:
        assert not roots(file) & (STAGES_ONLY | {"stages", "pipeline"})


@pytest.mark.parametrize("file", files("stages"), ids=str)
def test_stages_know_neither_prefect_nor_each_other(file: Path) -> None:
    assert not roots(file) & (PIPELINE_ONLY | {"pipeline", "dvc"})
    assert not imports(file) & {f"stages.{name}" for name in STAGES}


@pytest.mark.parametrize("file", files("pipeline"), ids=str)
def test_pipeline_knows_the_stages_by_name_only(file: Path) -> None:
    assert not roots(file) & {"stages", "glow", "torch", "mlflow"}


def test_mlflow_is_imported_in_three_files_only() -> None:
    importers = {
        file.name
        for package in ("glow", "stages", "pipeline")
        for file in files(package)
        if "mlflow" in roots(file)
    }
    assert importers == {"tracking.py", "served_model.py", "fetch.py"}


def test_charts_are_made_in_one_place_where_names_are_text() -> None:
    importers = {
        file.name
        for package in ("glow", "stages", "pipeline")
        for file in files(package)
        if "matplotlib" in roots(file)
    }
    assert importers == {"charts.py", "fonts.py"}


def test_what_is_said_to_install_is_this_checkout() -> None:
    """By its constraints; our name may be another project's on the public index."""
    written = [*ROOT.glob("*.md"), *ROOT.glob("docs/*"), *ROOT.glob("benchmarks/*.py")]
    written += [file for package in ("glow", "stages", "pipeline") for file in files(package)]
    for file in written:
        if file.suffix in (".md", ".py"):
            text = file.read_text(encoding="utf-8")
            for said in re.findall(r"pip install [^`\n]*", text):
                assert "glow-flow" not in said, file
                assert "-e '" not in said or "-c constraints.txt -e '.[" in said, file


@pytest.mark.parametrize("stage", STAGES)
def test_deps_of_a_stage_are_the_files_its_code_needs(stage: str) -> None:
    deps = [dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")]
    assert deps == sorted(files_of(f"stages.{stage}"))


@pytest.mark.parametrize("stage", STAGES)
def test_params_of_a_stage_are_the_sections_its_code_reads(stage: str) -> None:
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8"))
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "params"
    }
    assert read == set(STAGES[stage]["params"])
    assert read <= set(Params.model_fields)


@pytest.mark.parametrize("stage", STAGES)
def test_paths_in_a_command_are_deps_or_outs(stage: str) -> None:
    about = STAGES[stage]
    _, _, module, *paths = about["cmd"].split()
    assert module == f"stages.{stage}"
    listed = list(about["deps"])
    for kind in ("outs", "metrics", "plots"):
        listed += [out if isinstance(out, str) else next(iter(out)) for out in about.get(kind, [])]
    assert set(paths) <= set(listed)
