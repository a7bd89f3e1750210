"""The sweep: a flow run and an experiment per point of a grid, and a checkout that is unharmed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State

from pipeline.errors import InputError
from pipeline.experiment import experiment_name
from pipeline.flow import glow
from pipeline.sweep import parse_grid, points, sweep, title


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def run(**parameters: Any) -> State[Any]:  # noqa: ANN401 - as the flow's own
    state: State[Any] = sweep(**parameters, return_state=True)
    return state


def dvc(project: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(
        command, cwd=project, check=True, capture_output=True, text=True
    ).stdout.strip()


def outputs(project: Path) -> dict[str, bytes]:
    """All that DVC or git know of, and what else may lie there."""
    files = [file for file in project.rglob("*") if file.is_file()]
    names = {file.relative_to(project).as_posix(): file for file in files}
    logs = (".dvc/", ".git/", "flow_run.log", "experiment.log")
    return {name: names[name].read_bytes() for name in names if not name.startswith(logs)}


def test_values_as_typed_in_a_shell() -> None:
    typed = ["model.depth=4, 8", "rate=2.0e-3", "t=[0.5],[0.7, 1.0]", "kind=affine,null"]
    typed += ["model.conditional=age>=40,'a, b'"]
    assert parse_grid(typed) == {
        "model.depth": [4, 8],
        "rate": [2.0e-3],
        "t": [[0.5], [0.7, 1.0]],
        "kind": ["affine", None],
        "model.conditional": ["age>=40", "a, b"],
    }


@pytest.mark.parametrize(
    ("typed", "message"),
    [("model.depth", "is no axis"), ("a=[1", "are not YAML"), ("a=}", "are not YAML")],
)
def test_what_is_no_axis_is_refused(typed: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_grid([typed])


def test_points_are_all_combinations_in_order() -> None:
    assert points({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


@pytest.mark.parametrize("grid", [{}, {"a": []}, {"a": 3}, {"a": "text"}])
def test_a_grid_without_points_is_refused(grid: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"expected a list|is empty"):
        points(grid)


def test_a_title_is_a_reference_for_git() -> None:
    point = {"samples.temperatures": [0.5, 1.0], "a.path": "../x y~", "b": None, "c.d": -1.0e-5}
    name = title("bold-fox", 3, point)
    assert name.startswith("bold-fox-3-temperatures=_0_5_1_0_")
    assert experiment_name(name) == name
    subprocess.run(["git", "check-ref-format", f"refs/exps/{name}"], check=True)


@pytest.mark.server
def test_a_point_is_a_flow_run_and_an_experiment_and_nothing_else_changes(
    client: SyncPrefectClient, project: Path
) -> None:
    assert glow(overrides={"number": 7}, keep=True, return_state=True).is_completed()
    before = outputs(project)
    assert {"dvc.lock", "last.txt", "last.json", "pictures/all/0", "parts/0"} <= before.keys()

    state = run(grid={"number": [1, 2], "rate": [0.5]})

    assert state.is_completed(), state.message
    assert outputs(project) == before
    assert dvc(project, "status", "--quiet") == ""
    assert state.state_details.flow_run_id is not None
    name = client.read_flow_run(state.state_details.flow_run_id).name
    names = {f"{name}-{number}-number={number}-rate=0_5" for number in (1, 2)}
    assert names <= {run.name for run in client.read_flow_runs()}
    assert names <= set(dvc(project, "exp", "list", "--name-only").split())
    dvc(project, "exp", "apply", f"{name}-2-number=2-rate=0_5")
    assert "number: 2 " in (project / "last.txt").read_text()


@pytest.mark.server
def test_a_point_that_fails_does_not_keep_the_others_from_running(
    client: SyncPrefectClient, project: Path
) -> None:
    before = outputs(project)
    commands = ["echo out of memory; exit 3", "cp params.yaml first.txt"]
    state = run(grid={"commands.first": commands})
    assert state.is_failed()
    assert state.message is not None
    assert state.message.startswith("1 of 2 points failed: ")
    assert "-1-first=echo_out_of_memory_exit_3" in state.message
    (made,) = dvc(project, "exp", "list", "--name-only").split()
    assert made.endswith("-2-first=cp_params_yaml_first_txt")
    assert outputs(project).keys() - before.keys() == {".gitignore"}  # which DVC has written
    assert before.items() <= outputs(project).items()


@pytest.mark.server
@pytest.mark.parametrize(
    ("grid", "message"),
    [({"numbr": [1]}, "'numbr' is not in params.yaml"), ({"number": []}, "expected a list")],
)
def test_what_is_not_known_is_refused_before_anything_runs(
    client: SyncPrefectClient, project: Path, grid: dict[str, Any], message: str
) -> None:
    state = run(grid=grid)
    assert state.is_failed()
    assert message in str(state.message)
    assert not (project / "first.txt").exists()


@pytest.mark.server
def test_a_deployment_that_is_not_there_is_named(client: SyncPrefectClient, project: Path) -> None:
    state = run(grid={"number": [1]}, deployment="glow/trian")
    assert state.is_failed()
    assert "there is no deployment 'glow/trian'" in str(state.message)
