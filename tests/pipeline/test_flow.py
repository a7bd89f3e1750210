"""The flow: a task run per stage, in order, each of them `dvc repro` of a real DVC project."""

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flows import dvc, flow_run_of, git, run, task_runs
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterTaskRunId,
)

from pipeline.checkout import one_flow_at_a_time
from pipeline.experiment import experiment_name
from pipeline.flow import glow

pytestmark = pytest.mark.server


def test_a_task_run_per_stage_in_order(client: SyncPrefectClient, project: Path) -> None:
    state = run(overrides={"number": 7, "temperatures": [0.25]}, keep=True)

    assert state.is_completed()
    assert list(task_runs(client, state)) == ["first", "middle", "last"]
    params = (project / "params.yaml").read_text()
    assert "number: 7          # of the first stage\n" in params
    assert "temperatures: [0.25]       # a list on one line\n" in params
    assert (project / "last.txt").read_text() == params  # it ran on the overridden numbers
    assert (project / "flow_run.log").read_text().strip() == str(flow_run_of(state))


def test_a_run_is_kept_as_an_experiment_and_leaves_the_checkout_as_it_was(
    client: SyncPrefectClient, project: Path
) -> None:
    assert run().is_completed()
    before = (project / "params.yaml").read_text()
    git(project, "add", "--all", ".", ":!*.log")
    staged = git(project, "diff", "--cached")

    free_text = "tiefe 7 / größe 1e-3"
    named = glow.with_options(flow_run_name=free_text)
    state = named(overrides={"number": 7}, return_state=True)

    assert state.is_completed()
    assert (project / "params.yaml").read_text() == before
    assert (project / "last.txt").read_text() == before
    assert git(project, "diff", "--cached") == staged
    assert git(project, "diff") == ""
    name = experiment_name(free_text)
    assert name in dvc(project, "exp", "list", "--name-only").split()
    assert (project / "experiment.log").read_text().strip() == name
    dvc(project, "exp", "apply", name)
    assert "number: 7 " in (project / "params.yaml").read_text()
    assert "number: 7 " in (project / "last.txt").read_text()


def test_a_run_has_its_metrics_and_pictures_to_look_at(
    client: SyncPrefectClient, project: Path
) -> None:
    state = run()
    last = task_runs(client, state)["last"]
    made = client.read_artifacts(
        artifact_filter=ArtifactFilter(task_run_id=ArtifactFilterTaskRunId(any_=[last.id]))
    )
    artifacts = {artifact.key: artifact for artifact in made}
    assert set(artifacts) == {"last-last-metrics", "last-last"}
    assert artifacts["last-last-metrics"].data == (
        "| metric | value |\n| --- | --- |\n| loss | 1.5 |\n\n|  | b |\n| --- | --- |\n| a | 2 |"
    )
    prefix, _, data = str(artifacts["last-last"].data).partition(",")
    assert prefix == "data:image/png;base64"
    assert base64.b64decode(data) == (project / "logo.png").read_bytes()


def test_stages_that_were_left_out_are_not_taken_for_up_to_date(project: Path) -> None:
    assert run().is_completed()
    assert run(overrides={"number": 7}, stages=["last"], keep=True).is_completed()
    assert "first:" in dvc(project, "status")


def test_params_that_were_edited_meanwhile_are_not_taken_for_those_of_the_run(
    client: SyncPrefectClient, project: Path
) -> None:
    edit = "echo '# edited' >> params.yaml; cp first.txt middle.txt"
    assert run(overrides={"commands.middle": edit}).is_completed()
    assert dvc(project, "exp", "list", "--name-only") == ""
    assert (project / "params.yaml").read_text().endswith("# edited\n")


def test_a_second_flow_waits_for_the_first_even_if_that_is_killed(project: Path) -> None:
    holding = """
import sys
from pathlib import Path
from pipeline.checkout import one_flow_at_a_time
with one_flow_at_a_time(Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(project)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            first.kill()

        with one_flow_at_a_time(project, say), one_flow_at_a_time(project, say):
            assert said == [
                "another flow runs in this checkout; this one waits until it has ended"
            ]


def test_what_is_up_to_date_runs_only_when_forced(
    project: Path, client: SyncPrefectClient
) -> None:
    counting = {"commands.first": "echo run >> count.log; cp params.yaml first.txt"}
    for force in (False, False, True):
        assert run(overrides=counting, stages=["first"], force=force, keep=True).is_completed()
    assert (project / "count.log").read_text() == "run\nrun\n"


def test_only_the_named_stages_run(client: SyncPrefectClient, project: Path) -> None:
    state = run(stages=["middle", "first"])
    assert list(task_runs(client, state)) == ["first", "middle"]
    assert not (project / "last.txt").exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"overrides": {"numbr": 7}}, "'numbr' is not in params.yaml; did you mean number?"),
        ({"stages": ["lsat"]}, "'lsat' is no stage of dvc.yaml"),
        (
            {"overrides": {"number": 7}, "stages": ["lsat"], "keep": True},
            "'lsat' is no stage of dvc.yaml",
        ),
        (
            {"overrides": {"number": 7}, "stages": ["last"]},
            "the results of some of the stages make no experiment; with overrides run all stages",
        ),
    ],
)
def test_what_is_not_known_is_refused_before_anything_runs(
    client: SyncPrefectClient, project: Path, parameters: dict[str, Any], message: str
) -> None:
    before = (project / "params.yaml").read_bytes()
    state = run(**parameters)
    assert state.is_failed()
    assert state.message is not None
    assert state.message.startswith(message)
    assert (project / "params.yaml").read_bytes() == before
    assert not (project / "first.txt").exists()
