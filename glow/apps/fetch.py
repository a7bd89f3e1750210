"""Where a model is: in a folder, in MLflow, or in a DVC project here or elsewhere.

What is fetched is read as any model folder is: weights and JSON, no pickle and no code of it.
"""

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from glow.apps.extras import brought_by
from glow.apps.uploads import BadRequest

WEIGHTS = "artifacts/glow"  # where a logged model has its folder
DEFAULT = "models/glow"
VECTORS = "attributes.safetensors"
MEANS, GUIDE = "counterfactual.safetensors", "guide.safetensors"
DATABASE = Path("mlflow.db")
SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


def folder_of(model: str) -> Path:
    """The folder of a model, fetched if need be; what is fetched is gone when the process ends.

    Args:
        model: a folder; `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `runs:/RUN_ID` of MLflow;
            or `REPO::PATH`, or `REPO::PATH@REVISION`, of a DVC project (a folder or a git URL);
            a PATH has no `@`.

    Raises:
        BadRequest: it is not there.
    """
    if Path(model).is_dir():  # whatever its name has
        return Path(model)
    if model.startswith(("models:/", "runs:/")):
        return _from_mlflow(model)
    if "::" in model:
        return _from_dvc(model)
    return Path(model)


def file_beside(folder: Path, name: str = VECTORS) -> Path | None:
    """What belongs to a model: in its folder, or beside `models/glow` as DVC has it."""
    inside, beside = folder / name, folder.with_name(name)
    if inside.is_file():
        return inside
    return beside if folder.name == Path(DEFAULT).name and beside.is_file() else None


def _from_mlflow(model: str) -> Path:
    for setting in SETTINGS.items():
        os.environ.setdefault(*setting)
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri and not DATABASE.is_file():
        raise BadRequest(
            f"{model} needs MLflow's store: there is no {DATABASE} here, so set "
            "MLFLOW_TRACKING_URI to where it is"
        )
    uri = uri or f"sqlite:///{DATABASE.absolute()}"
    try:
        import mlflow
    except ModuleNotFoundError:
        raise BadRequest(f"{model} needs mlflow; {brought_by()}") from None
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    target = _temporary_folder()
    try:
        source = _source(mlflow.MlflowClient(uri, uri), model)
        found = mlflow.artifacts.download_artifacts(
            f"{source}/{WEIGHTS}", dst_path=str(target), tracking_uri=uri
        )
    except (mlflow.MlflowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadRequest(f"MLflow does not give {model}: {reason}") from None
    return Path(found)


def _source(client: Any, model: str) -> str:  # noqa: ANN401 - mlflow is untyped
    """Where MLflow keeps the files of a model."""
    kind, _, name = model.partition(":/")
    if kind == "runs":
        run_id = name.partition("/")[0]
        outputs = client.get_run(run_id).outputs.model_outputs
        if not outputs:
            raise BadRequest(f"{model}: this run has no model; runs of `train` have one")
        return str(client.get_logged_model(outputs[-1].model_id).artifact_location)
    if name.count("/") == 1:
        version = client.get_model_version(*name.split("/"))
    elif "@" in name:
        version = client.get_model_version_by_alias(*name.rsplit("@", 1))  # as MLflow splits it
    else:
        raise BadRequest(f"model is {model}, expected models:/NAME@ALIAS or models:/NAME/VERSION")
    return str(client.get_model_version_download_uri(version.name, version.version))


def dvc_parts(model: str) -> tuple[str, str, str]:
    """REPO, PATH and REVISION of `REPO::PATH@REVISION`.

    A URL may have `::` (`https://[2001:db8::7]/glow.git`), and a revision `@` (`glow@v1.0.0`).
    """
    repo, _, rest = model.rpartition("::")
    path, _, revision = rest.partition("@")
    return repo, path or DEFAULT, revision


def _from_dvc(model: str) -> Path:
    repo, path, revision = dvc_parts(model)
    try:
        from dvc.api import DVCFileSystem
        from dvc.exceptions import DvcException
        from scmrepo.exceptions import SCMError
    except ModuleNotFoundError:
        raise BadRequest(f"{model} needs dvc; {brought_by()}") from None
    target = _temporary_folder() / Path(path).name
    try:
        files = DVCFileSystem(repo or ".", rev=revision or None)
        files.get(path, str(target), recursive=True)
        for name in (VECTORS, MEANS, GUIDE):
            beside = str(Path(path).with_name(name))
            if files.isfile(beside):
                files.get(beside, str(target.with_name(name)))
    except (DvcException, SCMError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadRequest(f"DVC does not give {model}: {reason}") from None
    return target


def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="glow-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
