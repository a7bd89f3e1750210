"""The order of the stages comes from dvc.yaml alone, as DVC reads it."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.dag import choose, project_root, stage_order
from pipeline.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def test_a_stage_comes_after_those_it_depends_on(project: Path) -> None:
    assert stage_order(project) == ["first", "middle", "last"]


def test_the_working_directory_does_not_matter(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert stage_order(project) == ["first", "middle", "last"]


def test_stages_that_do_not_depend_on_each_other_keep_their_order(project: Path) -> None:
    text = "stages:\n" + "".join(f"  {name}: {{cmd: 'true'}}\n" for name in "zaymb")
    (project / "dvc.yaml").write_text(text)
    assert stage_order(project) == list("zaymb")


def test_templates_are_filled_in(project: Path) -> None:
    (project / "dvc.yaml").write_text("""
stages:
  draw:
    foreach: ${temperatures}
    do:
      cmd: cp model.txt ${item}.txt
      deps: [model.txt]
      outs: ["${item}.txt"]
  train:
    cmd: echo > model.txt
    outs: [model.txt]
""")
    assert stage_order(project) == ["train", "draw@0.5", "draw@1.0"]


def test_stages_of_further_files_are_addressed_and_added_files_left_out(project: Path) -> None:
    (project / "raw").mkdir()
    (project / "raw" / "dvc.yaml").write_text(
        "stages: {fetch: {cmd: echo > raw.txt, outs: [raw.txt]}}"
    )
    (project / "added.txt.dvc").write_text("outs: [{path: added.txt}]")
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(
        text.replace("params: [number]", "deps: [raw/raw.txt, added.txt]")
    )
    assert stage_order(project) == ["raw/dvc.yaml:fetch", "first", "middle", "last"]


def test_chosen_stages_run_in_the_same_order() -> None:
    order = ["first", "middle", "last"]
    assert choose(order, ["last", "first"]) == ["first", "last"]
    assert choose(order, None) == order


def test_an_unknown_stage_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'lsat' is no stage of dvc.yaml; it has first, last"):
        choose(["first", "last"], ["first", "lsat"])


@pytest.mark.parametrize(
    "text",
    [
        "stages: [",
        "stages: {a: {}}",
        "stages: {a: {cmd: echo, outs: [x]}, b: {cmd: x, outs: [x]}}",
    ],
    ids=["no YAML", "no command", "two stages for one output"],
)
def test_what_dvc_refuses_is_one_line(project: Path, text: str) -> None:
    (project / "dvc.yaml").write_text(text)
    with pytest.raises(InputError, match=r"^DVC cannot read .*dvc.yaml: [^\n]+$"):
        stage_order(project)


def test_a_folder_without_dvc_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="DVC cannot read"):
        stage_order(tmp_path)


def test_the_project_is_this_one_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLOW_ROOT", raising=False)
    assert project_root() == ROOT
    monkeypatch.setenv("GLOW_ROOT", str(tmp_path))
    assert project_root() == tmp_path


def test_the_stages_of_this_project() -> None:
    order = stage_order(ROOT)
    assert order[:2] == ["preprocess", "train"]
    assert set(order) == set(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])
