"""Where MLflow's store is; one that is named by a relative path is in the main checkout."""

from pathlib import Path

HOSTED = ("databricks", "uc")  # words of MLflow that look like paths


def store_address(uri: str | None, root: Path) -> str:
    """The address, a relative path in it seen from `root`; without one, `mlflow.db` there.

    Seen from where the stage runs, the store of `dvc exp run --temp` would be in a copy of the
    checkout that is thrown away.
    """
    if not uri:
        return f"sqlite:///{root / 'mlflow.db'}"
    scheme, colon, rest = uri.partition(":")
    if not colon or "/" in scheme:
        return uri if uri in HOSTED else str(root / uri)
    if scheme == "file" and not rest.startswith("/"):
        return f"{root.as_uri()}/{rest.removeprefix('./')}"
    if scheme.partition("+")[0] == "sqlite" and rest.startswith("///"):
        file = rest.removeprefix("///")
        if file and not file.startswith((":memory:", "file:")):
            return f"{scheme}:///{root / file}"
    return uri
