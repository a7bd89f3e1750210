"""The trained model in MLflow: logged with the code that runs it, registered, perhaps champion.

Each step can be repeated without a second effect. mlflow and its client are handed in, since
tracking.py alone imports mlflow.
"""

import importlib.metadata
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.champion import decide
from stages.delivery import say

MODEL, ALIAS = "glow", "champion"
DECISION = "glow.champion"  # tag of a version: what was said when it was registered
REQUIREMENTS = ("mlflow", "torch", "safetensors", "numpy", "pandas", "pillow")
WEIGHTS = "artifacts/glow"  # where MLflow puts the folder of the model in what is logged


@dataclass(frozen=True)
class Registry:
    """The registered model `glow` and the logged models behind its versions."""

    mlflow: Any
    client: Any

    def add(self, run_id: str, folder: Path, tags: Mapping[str, str]) -> None:
        """Logs the model of a run, registers it with these tags, and settles who is champion."""
        version = self._version(run_id)
        if version is None:
            model = self._logged_model(run_id, folder)
            self._ensure_registered_model()
            # not models:/<id>, which SQLite's registry looks up in MLflow's global address
            version = self.client.create_model_version(
                MODEL, model.artifact_location, run_id, dict(tags), model_id=model.model_id
            )
            link = json.dumps([{"name": MODEL, "version": version.version}])
            self.client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": link})
        if DECISION not in version.tags:
            self._settle_champion(version)

    def add_attribute_vectors(self, run_id: str, file: Path) -> None:
        """Puts the vectors beside the weights; `edit` finds them when the model is next loaded.

        A run without a model, as when DVC fetched it from a remote, has nothing to add them to.
        """
        for model in self._logged_models(run_id):
            if model.status == "READY":
                self.client.log_model_artifact(model.model_id, str(file), WEIGHTS)

    def make_champion(self, version: str) -> None:
        """Moves the alias to a version; raises what MLflow does where there is no such one."""
        self.client.get_model_version(MODEL, version)
        self.client.set_registered_model_alias(MODEL, ALIAS, version)

    def _settle_champion(self, version: Any) -> None:  # noqa: ANN401 - mlflow is untyped
        champion = self._champion()
        if champion is not None and champion.version == version.version:
            champion = None  # it was made that, and the process died before it noted it
        is_champion, line = decide(
            version.version,
            version.tags,
            None if champion is None else champion.version,
            {} if champion is None else champion.tags,
        )
        if is_champion:
            self.client.set_registered_model_alias(MODEL, ALIAS, version.version)
        self.client.set_model_version_tag(MODEL, version.version, DECISION, line)
        say(line)

    def _champion(self) -> Any | None:  # noqa: ANN401 - mlflow is untyped
        aliases = self.client.get_registered_model(MODEL).aliases
        return self.client.get_model_version(MODEL, aliases[ALIAS]) if ALIAS in aliases else None

    def _version(self, run_id: str) -> Any | None:  # noqa: ANN401 - mlflow is untyped
        versions = self.client.search_model_versions(f"run_id = '{run_id}'")
        return next((version for version in versions if version.name == MODEL), None)

    def _logged_models(self, run_id: str) -> list[Any]:
        experiment = self.client.get_run(run_id).info.experiment_id
        return list(self.client.search_logged_models([experiment], f"source_run_id = '{run_id}'"))

    def _logged_model(self, run_id: str, folder: Path) -> Any:  # noqa: ANN401
        """The model of the run, uploaded whole."""
        for model in self._logged_models(run_id):
            if model.status == "READY":
                return model
            self.client.delete_logged_model(model.model_id)  # its upload broke off

        run = self.client.get_run(run_id)
        model = self.client.create_logged_model(
            run.info.experiment_id, MODEL, run_id, params=dict(run.data.params)
        )
        output = self.mlflow.entities.LoggedModelOutput(model.model_id, step=0)
        self.client.log_outputs(run_id, [output])
        with tempfile.TemporaryDirectory() as saved:
            self._save_model(Path(saved), folder, run_id, model)
            self.client.log_model_artifacts(model.model_id, saved)
        return self.client.finalize_logged_model(model.model_id, "READY")

    def _save_model(self, target: Path, folder: Path, run_id: str, model: Any) -> None:  # noqa: ANN401
        """The weights and the code that loads them, without pickle, in MLflow's layout.

        The requirements are named, since MLflow would spend a minute on guessing them.
        """
        import pandas as pd

        self.mlflow.pyfunc.save_model(
            str(target),
            python_model=str(folder / "served_model.py"),
            artifacts={"glow": str(folder / "weights" / "glow")},
            code_paths=[str(folder / "code" / "glow")],
            signature=self._signature(),
            input_example=(
                pd.DataFrame({"n_images": [4]}),
                {"action": "sample", "temperature": 0.7, "seed": 0},
            ),
            pip_requirements=_pinned(REQUIREMENTS),
            mlflow_model=self.mlflow.models.Model(
                artifact_path=model.artifact_location,
                model_uuid=model.model_id,
                model_id=model.model_id,
                run_id=run_id,
            ),
        )

    def _signature(self) -> Any:  # noqa: ANN401 - mlflow is untyped
        """Which columns are needed, and which come back, depends on the action."""
        types = self.mlflow.types

        def columns(**kinds: str) -> Any:  # noqa: ANN401 - mlflow is untyped
            specs = [types.ColSpec(kind, name, required=False) for name, kind in kinds.items()]
            return types.Schema(specs)

        return self.mlflow.models.ModelSignature(
            inputs=columns(**{"n_images": "long", "image": "string", "class": "string"}),
            outputs=columns(
                png="string", bits_per_dim="double", log_prob="double", max_difference="long"
            ),
            params=types.ParamSchema(
                [
                    types.ParamSpec("action", "string", "sample"),
                    types.ParamSpec("temperature", "double", 0.7),
                    types.ParamSpec("seed", "long", 0),
                    types.ParamSpec("attribute", "string", ""),
                    types.ParamSpec("alpha", "double", 1.0),
                    types.ParamSpec("n_dequantizations", "long", 1),
                ]
            ),
        )

    def _ensure_registered_model(self) -> None:
        try:
            self.client.create_registered_model(MODEL)
        except self.mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _pinned(packages: tuple[str, ...]) -> list[str]:
    """The versions that are installed; `+cpu` or `+cu130` is of this machine, not of the model."""
    versions = {name: importlib.metadata.version(name).partition("+")[0] for name in packages}
    return [f"{name}=={version}" for name, version in versions.items()]
