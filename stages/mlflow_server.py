"""The operations of a tracked run, done with MLflow; each can be repeated without a second effect.

The module and its client are handed in, since tracking.py alone imports mlflow.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from glow.weights import KEY as WEIGHTS
from stages.delivery import warn, without_password
from stages.registry import Registry
from stages.spool import Operation, Spool

UI = "http://127.0.0.1:5000"  # as tracking.py serves it
MAX_DIGEST = 36  # characters of a data set's digest, MLflow's limit


@dataclass
class MlflowServer:
    """The `Server` that the stages report to.

    Attributes:
        uri: where it is.
        artifacts: the folder for the artifacts, or none if the server decides that.
        connect: called once, when something is sent; gives the mlflow module and a client.
    """

    uri: str
    artifacts: Path | None
    connect: Callable[[str], tuple[Any, Any]]

    @cached_property
    def _connection(self) -> tuple[Any, Any]:
        return self.connect(self.uri)

    @property
    def registry(self) -> Registry:
        """The models there."""
        return Registry(self._mlflow, self._client)

    @property
    def _mlflow(self) -> Any:  # noqa: ANN401 - mlflow is untyped
        return self._connection[0]

    @property
    def _client(self) -> Any:  # noqa: ANN401 - mlflow is untyped
        return self._connection[1]

    def perform(self, spool: Spool, operations: list[Operation]) -> None:
        """Does what the spool says, and gives the spool the id of the run that it opens."""
        operation = operations[0]
        if operation["kind"] == "open":
            spool.run_id = self._open(spool.folder.name, operation)
            return
        run_id = str(spool.run_id)
        folder = spool.folder / operation.get("folder", "")
        match operation["kind"]:
            case "metrics":
                self._log_metrics(run_id, operations)
            case "params":
                self._log_params(run_id, operation["values"])
            case "tags":
                found = [self._mlflow.entities.RunTag(*tag) for tag in operation["values"].items()]
                self._client.log_batch(run_id, tags=found)
            case "dataset":
                self._log_dataset(run_id, operation)
            case "artifact":
                file = str(folder / operation["name"])
                self._client.log_artifact(run_id, file, operation["below"])
            case "image":
                self._log_image(run_id, folder / operation["name"], operation)
            case "model":
                facts = operation.get("facts", {})  # a spool of an older version has none
                tags = {"glow.fingerprint": spool.opening["fingerprint"], **facts}
                self.registry.add(run_id, folder, tags)
            case "attribute_vectors":
                self.registry.add_attribute_vectors(run_id, folder / operation["name"])
            case "close":
                self._close(run_id, operation, spool.opening)

    def has(self, run_id: str) -> bool:
        """Whether MLflow knows the run, be it a deleted one."""
        try:
            self._client.get_run(run_id)
        except self._mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True

    def answers(self) -> bool:
        """Whether MLflow does, of which something has failed."""
        try:
            self._client.search_experiments(max_results=1)
        except Exception:  # of a network, a database, a proxy: the failure before it was named
            return False
        return True

    def refuses(self, error: Exception) -> bool:
        """Whether MLflow never takes this: a value out of bounds, a run that a user deleted."""
        return getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE"

    def _open(self, spool: str, opening: Operation) -> str:
        experiment = self._experiment(opening["experiment"])
        found = self._search(experiment, {"glow.spool": spool})
        for duplicate in found[1:]:  # its creation timed out, was repeated, and succeeded twice
            self._client.delete_run(duplicate.info.run_id)
        if not found and opening["reopen"]:
            ours = {"glow.fingerprint": opening["fingerprint"]}
            found = _of_weights(opening, self._search(experiment, ours))
        if found:
            run = found[0]
            self._client.update_run(run.info.run_id, status="RUNNING")
        else:
            tags = {**opening["tags"], "glow.spool": spool}
            run = self._client.create_run(experiment, opening["time"], tags, opening["name"])
        if "glow.temperature" not in opening["tags"]:  # of which there are many
            print(f"MLflow run {run.info.run_name}: {self._page(run)}", flush=True)
        return str(run.info.run_id)

    def _page(self, run: Any) -> str:  # noqa: ANN401 - mlflow is untyped
        """Where a browser finds the run; of a file, once `python -m stages.tracking ui` runs."""
        base = without_password(self.uri) if self.artifacts is None else UI
        return f"{base.rstrip('/')}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"

    def _close(self, run_id: str, closing: Operation, opening: Operation) -> None:
        """Ends the run; one that was reopened keeps the time at which its training ended."""
        run = self._client.get_run(run_id)
        if run.info.end_time:
            self._client.update_run(run_id, status=closing["status"])
        else:
            self._client.set_terminated(run_id, closing["status"], closing["time"])
        if "glow.temperature" in opening["tags"] and closing["status"] == "FINISHED":
            keys = ("glow.fingerprint", "glow.temperature")
            pair = {key: opening["tags"][key] for key in keys}
            for other in _of_weights(opening, self._search(run.info.experiment_id, pair)):
                if other.info.start_time < run.info.start_time:
                    self._client.delete_run(other.info.run_id)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            folder = None if self.artifacts is None else str(self.artifacts / name)
            try:
                return str(self._client.create_experiment(name, folder))
            except self._mlflow.MlflowException:
                found = self._client.get_experiment_by_name(name)
                if found is None:  # so it was not that another process made it first
                    raise
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _search(self, experiment: str, tags: Mapping[str, str]) -> list[Any]:
        """The runs with these tags, newest first."""
        condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        order = ["attributes.start_time DESC"]
        return list(self._client.search_runs([experiment], condition, order_by=order))

    def _log_metrics(self, run_id: str, operations: list[Operation]) -> None:
        metrics = [
            self._mlflow.entities.Metric(key, value, operation["time"], operation["step"])
            for operation in operations
            for key, value in operation["values"].items()
        ]
        self._client.log_batch(run_id, metrics=metrics)

    def _log_params(self, run_id: str, values: Mapping[str, str]) -> None:
        known = self._client.get_run(run_id).data.params
        for key in sorted(known.keys() & values.keys()):
            if known[key] != values[key]:
                warn(f"MLflow keeps the param {key} = {known[key]} of this run; now {values[key]}")
        new = {key: value for key, value in values.items() if key not in known}
        params = [self._mlflow.entities.Param(*param) for param in new.items()]
        self._client.log_batch(run_id, params=params)

    def _log_dataset(self, run_id: str, dataset: Operation) -> None:
        entities, types, profile = self._mlflow.entities, self._mlflow.types, dataset["profile"]
        shape = (-1, profile["channels"], profile["image_size"], profile["image_size"])
        levels = types.Schema([types.TensorSpec(np.dtype("uint8"), shape, "levels")])
        schema = {"mlflow_tensorspec": {"features": levels.to_json(), "targets": None}}
        described = entities.Dataset(
            dataset["name"],
            profile["checksum"][:MAX_DIGEST],
            "local",
            json.dumps({"uri": dataset["source"]}),
            json.dumps(schema),
            json.dumps(profile),
        )
        tags = [entities.InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(run_id, [entities.DatasetInput(described, tags)])

    def _log_image(self, run_id: str, file: Path, image: Operation) -> None:
        from PIL import Image

        key, step, taken = image["key"], image["step"], image["time"]
        logged = f"images/{key.replace('/', '~')}+step+{step}+timestamp+{taken}+"
        there = [entry.path for entry in self._client.list_artifacts(run_id, "images")]
        if not any(path.startswith(logged) and path.endswith(".webp") for path in there):
            with Image.open(file) as picture:
                picture.load()
                self._client.log_image(run_id, picture, key=key, step=step, timestamp=taken)


def _of_weights(opening: Operation, runs: list[Any]) -> list[Any]:
    """Those of the same weights as a run to open, then those that do not say of which they are."""
    ours = opening["tags"].get(WEIGHTS)
    theirs = [(run.data.tags.get(WEIGHTS), run) for run in runs]
    if ours is None:
        return runs
    same = [run for weights, run in theirs if weights == ours]
    return same + [run for weights, run in theirs if weights is None]
