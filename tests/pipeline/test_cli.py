"""`python -m pipeline`: what it prints, and how it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.overrides import PARAMS_FILE
from pipeline.preset import presets

ROOT = Path(__file__).resolve().parents[2]


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    code = end.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("command", ["up", "run", "preset", "stages"])
def test_the_help_of_a_command_has_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(command, "--help") == 0
    assert f"Example: python -m pipeline {command}" in capsys.readouterr().out


def test_stages_are_printed_in_order(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("stages") == 0
    assert capsys.readouterr().out == "first\nmiddle\nlast\n"


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("preset") == 0
    lines = capsys.readouterr().out.splitlines()
    listed = dict(line.split(maxsplit=1) for line in lines)
    assert listed.keys() == presets().keys()
    assert listed["tiny"].startswith("All five stages")
    assert (
        len({line.index(purpose) for line, purpose in zip(lines, listed.values(), strict=True)})
        == 1
    )


def test_a_preset_is_put_in_place(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("preset", "tiny", "--force") == 0
    assert "now the preset tiny" in capsys.readouterr().out
    written = (project / PARAMS_FILE).read_bytes()
    assert written == (ROOT / "pipeline" / "presets" / "tiny.yaml").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "-S", "numbr=1"], "'numbr' is not in params.yaml; did you mean number?"),
        (
            ["run", "-S", "number"],
            "'number' is no override; write key=value, as in model.depth=16",
        ),
        (["run", "--stage", "lsat"], "'lsat' is no stage of dvc.yaml; it has first, middle, last"),
        (["preset", "huge"], "'huge' is no preset; there are celebahq256, cifar10, "),
        (["preset", "tiny"], "params.yaml has uncommitted changes; commit them, or give --force"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with (project / PARAMS_FILE).open("a") as params:
        params.write("# not committed\n")
    before = (project / PARAMS_FILE).read_bytes()
    assert exit_code(*arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"error: {message}")
    assert output.err.count("\n") == 1
    assert (project / PARAMS_FILE).read_bytes() == before


def test_an_unknown_option_is_exit_code_2() -> None:
    assert exit_code("run", "--fast") == 2


def test_help_does_not_wait_for_prefect_or_dvc() -> None:
    """They take seconds to import."""
    script = (
        "import sys; from pipeline.__main__ import app\n"
        "try: app(['run', '--help'])\n"
        "except SystemExit: print({'prefect', 'dvc', 'torch'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "set()"


def test_pipeline_knows_stages_only_by_name() -> None:
    """Neither the stages nor the model are imported, so that a scheduler needs no torch."""
    script = (
        "import sys, pipeline.__main__, pipeline.flow, pipeline.server, pipeline.preset\n"
        "print({'stages', 'glow', 'torch', 'mlflow'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "set()\n"
