"""The registered model: whole, without pickle, and served over HTTP."""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from ports import free_port
from safetensors.torch import save_file
from served import Served, noise, pixels
from tracked import FACTS, FINGERPRINT, Client, answering, mlflow, runs

from stages import tracking


def test_the_registered_model_is_whole_without_pickle_and_loads_by_its_alias(
    client: Client, project: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracking.training_run(FINGERPRINT, {"model": {"depth": 1}}) as run:
        run.model(model, **FACTS)
    version = client.get_model_version_by_alias("glow", "champion")
    assert version.run_id == runs(client)[0].info.run_id

    stored = list(Path(version.source).rglob("*"))
    assert {"model.safetensors", "served_model.py", "actions.py"} <= {f.name for f in stored}
    assert not [file for file in stored if file.suffix in (".pkl", ".pickle", ".pyc")]

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlflow.db'}")
    loaded = mlflow.pyfunc.load_model("models:/glow@champion")
    images = pd.DataFrame({"image": [noise(0), noise(1, 20, 30, file_format="JPEG")]})
    scores = loaded.predict(images, {"action": "score"})
    assert (
        list(scores["bits_per_dim"])
        == Served(model)("score", images.to_dict("list"))["bits_per_dim"]
    )
    assert len(loaded.predict(pd.DataFrame({"n_images": [2]}))) == 2


@pytest.mark.server
def test_mlflow_serves_every_action_and_refuses_in_a_line(
    client: Client, project: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = project / "vectors.safetensors"
    save_file({"Hat": torch.ones(192)}, vectors)
    with tracking.training_run(FINGERPRINT, {}) as run:
        run.model(model, **FACTS)
    with tracking.same_run(FINGERPRINT) as run:
        run.attribute_vectors(vectors)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlflow.db'}")
    monkeypatch.chdir(project)  # so that `glow` can only be the code that was stored
    monkeypatch.delenv("PYTHONPATH", raising=False)
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = ["models", "serve", "-m", "models:/glow@champion", "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port)]

    def ask(row: dict[str, Any], **params: object) -> Any:  # noqa: ANN401 - JSON
        body = json.dumps({"dataframe_records": [row], "params": params}).encode()
        request = urllib.request.Request(
            f"{address}/invocations", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60.0) as answer:
            return json.load(answer)["predictions"]

    with answering([sys.executable, "-m", "mlflow", *command], f"{address}/ping", project / "log"):
        (sampled,) = ask({"n_images": 1}, temperature=0.5, seed=4)
        here = Served(model)
        assert sampled == {
            "png": here("sample", {"n_images": [1]}, temperature=0.5, seed=4)["png"][0]
        }
        (scored,) = ask({"image": noise(0)}, action="score")
        assert scored["bits_per_dim"] == here("score", {"image": [noise(0)]})["bits_per_dim"][0]
        (edited,) = ask({"image": noise(0)}, action="edit", attribute="Hat", alpha=1.5)
        assert pixels(edited["png"]).shape == (8, 8, 3)
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask({"image": noise(0)}, action="edit", attribute="Beard")
        answer = json.load(refused.value)
    assert refused.value.code == 400
    assert answer["message"] == "attribute is 'Beard', expected one of Hat"
