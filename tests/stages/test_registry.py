"""The registry: a version per training, made champion where it is the better one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tracked import FACTS, FINGERPRINT, OTHER, Client, as_a_new_process, mlflow, replay, runs
from typer.testing import CliRunner

from glow.weights import weights_hash
from stages import tracking
from stages.champion import BITS, DATA, decide


@pytest.mark.parametrize(
    ("bits", "data", "becomes", "why"),
    [
        ("2.400000", "a", True, "2.4000 valid bits/dim instead of 2.5000 of version 1"),
        ("2.500000", "a", False, "2.5000 valid bits/dim are not fewer than 2.5000 (+0.0000)"),
        ("2.750000", "a", False, "2.7500 valid bits/dim are not fewer than 2.5000 (+0.2500)"),
        ("nan", "a", False, "nan valid bits/dim are not fewer than 2.5000"),
        ("2.400000", "b", False, "they are of different data"),
    ],
)
def test_a_version_becomes_champion_by_fewer_bits_on_the_same_data(
    bits: str,
    data: str,
    becomes: bool,  # noqa: FBT001 - a parameter of the test
    why: str,
) -> None:
    is_champion, line = decide("2", {DATA: data, BITS: bits}, "1", {DATA: "a", BITS: "2.5"})
    assert (is_champion, "\n" in line) == (becomes, False)
    assert why in line
    assert ("`python -m stages.tracking champion 2`" in line) != becomes


def test_a_champion_that_diverged_or_is_unknown_is_replaced_or_kept() -> None:
    new = {DATA: "a", BITS: "9.0"}
    assert decide("2", new, "1", {DATA: "a", BITS: "nan"})[0]
    assert not decide("2", new, "1", {"glow.fingerprint": "of an older version"})[0]
    assert decide("1", {}, None, {})[0]


def train(model: Path, fingerprint: str, data: str, bits: float) -> None:
    with tracking.training_run(fingerprint, {}) as run:
        run.model(model, weights=weights_hash(model), data=data, valid_bits_per_dim=bits)


def champion(client: Client) -> str:
    return str(client.get_model_version_by_alias("glow", "champion").version)


def test_the_champion_is_the_best_of_its_data_unless_a_user_says_otherwise(
    client: Client, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for fingerprint, data, bits in [
        (FINGERPRINT, "a", 2.5),
        (OTHER, "a", 2.75),
        (FINGERPRINT, "a", 2.25),
        (FINGERPRINT, "b", 1.0),
    ]:
        train(model, fingerprint, data, bits)
        found.append(champion(client))
    assert found == ["1", "1", "3", "3"]
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "glow version 1 is the champion, as the first one",
        "glow version 2 is registered, and version 1 stays the champion",
        "glow version 3 is the champion",
        "glow version 4 is registered, and version 3 stays the champion, "
        "since they are of different data; "
        "`python -m stages.tracking champion 4` makes this one it",
    ]
    tags = client.get_model_version("glow", "2").tags
    assert tags["glow.fingerprint"] == OTHER
    assert (tags["glow.data"], tags["glow.valid_bits_per_dim"]) == ("a", "2.750000")
    assert "(+0.2500)" in tags["glow.champion"]

    as_a_new_process()
    by_hand = CliRunner().invoke(tracking.app, ["champion", "4"])
    assert (by_hand.exit_code, by_hand.output) == (0, "glow version 4 is the champion\n")
    assert champion(client) == "4"
    missing = CliRunner().invoke(tracking.app, ["champion", "9"])
    assert (missing.exit_code, missing.output.count("\n")) == (1, 1)
    assert "version=9" in missing.output
    assert champion(client) == "4"


def test_attribute_vectors_join_the_model_that_was_registered_before(
    client: Client, project: Path, model: Path
) -> None:
    train(model, FINGERPRINT, "a", 2.5)
    vectors = project / "vectors.safetensors"
    for size in (3, 4):
        save_file({"Smiling": torch.ones(size)}, vectors)
        with tracking.same_run(FINGERPRINT) as run:
            run.attribute_vectors(vectors)
    source = Path(client.get_model_version("glow", "1").source)
    assert (source / "artifacts/glow/attributes.safetensors").read_bytes() == vectors.read_bytes()
    assert (source / "artifacts/glow/config.json").exists()


def test_attribute_vectors_of_a_model_that_came_from_a_remote_have_nowhere_to_go(
    client: Client, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = project / "vectors.safetensors"
    save_file({"Smiling": torch.ones(3)}, vectors)
    with tracking.same_run(FINGERPRINT) as run:
        run.attribute_vectors(vectors)
    assert [found.info.status for found in runs(client)] == ["FINISHED"]
    assert capsys.readouterr().err == ""


def test_a_model_whose_upload_broke_off_is_uploaded_again_and_registered_once(
    client: Client, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(client: Client, model_id: str, folder: str) -> None:
        raise ConnectionError("reset by peer")

    with monkeypatch.context() as broken:
        broken.setattr(mlflow.MlflowClient, "log_model_artifacts", break_off)
        with tracking.training_run(FINGERPRINT, {}) as run:
            run.model(model, **FACTS)
    assert replay()[0] == 0
    (found,) = runs(client)
    (logged,) = client.search_logged_models([found.info.experiment_id])
    assert logged.status == "READY"
    assert len(client.search_model_versions("name = 'glow'")) == 1
