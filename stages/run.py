"""A tracked run as a stage sees it: what can be reported, as operations for a spool."""

import hashlib
import os
import posixpath
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from glow.filenames import hashed, is_hashed
from glow.weights import KEY as WEIGHTS
from stages.champion import BITS, DATA
from stages.spool import Operation

MAX_KEY, MAX_VALUE = 250, 6000  # characters of a key and of a param's value, MLflow's limits
MAX_IMAGE_KEY = 150  # it is a part of a file's name

CODE = Path(__file__).resolve().parents[1]
ATTRIBUTES = "attributes.safetensors"  # the name under which glow/apps/fetch.py looks for it


class Record(Protocol):
    """What becomes of the operations of a run."""

    def __call__(self, operation: Operation, files: Mapping[str, Path] | None = None) -> None:
        """Takes an operation and the files that belong to it, under the names to keep."""


@dataclass(frozen=True)
class Run:
    """A run to report to; no trouble with a server or a disk is raised here."""

    record: Record

    def metrics(
        self, values: Mapping[str, float], step: int | None = None, *, taken: int | None = None
    ) -> None:
        """Numbers to chart, at a step of the training or, without one, of the run as a whole.

        They are of now, or were `taken` so many milliseconds after 1970 began.

        NaN and infinity are sent as they are, since a diverging loss is what a chart should show;
        MLflow stores infinity as the largest double.
        """
        numbers = {_key(name): float(value) for name, value in values.items()}
        when = {} if taken is None else {"time": taken}
        self.record({"kind": "metrics", "values": numbers, "step": step or 0, **when})

    def params(self, values: Mapping[str, Any]) -> None:
        """Settings, nested or not: `{"model": {"depth": 8}}` becomes `model.depth`.

        MLflow keeps the first value of a param for good, so a reopened run warns of a change.
        """
        self.record({"kind": "params", "values": _flatten(values)})

    def tags(self, values: Mapping[str, str]) -> None:
        """Text to search by."""
        texts = {_key(name): str(text) for name, text in values.items()}
        self.record({"kind": "tags", "values": texts})

    def dataset(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """What is trained on: its dataset.json in short, for the run's inputs; no images.

        Args:
            folder: of the shards, as the stage was told.
            manifest: the content of dataset.json.
        """
        kept = ("credit", "image_size", "channels", "n_bits", "attributes", "checksum")
        counts = {split: about["count"] for split, about in manifest["splits"].items()}
        profile = {
            "num_rows": sum(counts.values()),
            "splits": counts,
            "skipped": len(manifest["skipped"]),
            **{key: manifest[key] for key in kept},
        }
        operation = {"kind": "dataset", "name": manifest["source"], "source": str(folder)}
        self.record({**operation, "profile": profile})

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """A file, or a folder with all in it, below `folder` of the run's artifacts."""
        operation = {"kind": "artifact", "name": path.name, "below": folder}
        self.record(operation, {path.name: path})

    def image(self, path: Path, key: str, step: int = 0) -> None:
        """An image that MLflow shows beside those of the same key in other runs."""
        key = _key(key, MAX_IMAGE_KEY, ascii_only=True)
        operation = {"kind": "image", "name": path.name, "key": key, "step": step}
        self.record(operation, {path.name: path})

    def model(self, folder: Path, *, weights: str, data: str, valid_bits_per_dim: float) -> None:
        """A folder of `save_glow`, to be registered together with the code that loads it.

        Args:
            folder: of the model.
            weights: `weights_hash` of it, by which later stages find this run.
            data: checksum of the data set; models of the same one are compared.
            valid_bits_per_dim: by which it may become the champion.
        """
        files = {
            "weights/glow": folder,
            "code/glow": CODE / "glow",
            "served_model.py": CODE / "stages" / "served_model.py",
        }
        self.tags({WEIGHTS: weights})
        facts = {DATA: data, BITS: f"{valid_bits_per_dim:.6f}", WEIGHTS: weights}
        self.record({"kind": "model", "facts": facts}, files)

    def attribute_vectors(self, file: Path) -> None:
        """A safetensors file of a latent direction per attribute, for the model of this run."""
        self.record({"kind": "attribute_vectors", "name": ATTRIBUTES}, {ATTRIBUTES: file})


def ignore(operation: Operation, files: Mapping[str, Path] | None = None) -> None:
    """The `Record` of a run that is not tracked."""


def origin(fingerprint: str, weights: str | None) -> dict[str, str]:
    """The tags that say where a run comes from; what is not known is left out."""
    known = {
        "glow.fingerprint": fingerprint,
        WEIGHTS: weights,
        "glow.dvc_experiment": os.environ.get("DVC_EXP_NAME"),
        "glow.git_revision": _git_revision(),
        "glow.dvc_lock": _checksum(Path("dvc.lock")),
        "glow.prefect_flow_run": os.environ.get("PREFECT__FLOW_RUN_ID")
        or os.environ.get("GLOW_FLOW_RUN"),
    }
    return {key: value for key, value in known.items() if value}


def _git_revision() -> str | None:
    command = ["git", "rev-parse", "--verify", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _checksum(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[_key(f"{prefix}{name}")] = str(value)[:MAX_VALUE]
    return flat


def _key(name: str, at_most: int = MAX_KEY, *, ascii_only: bool = False) -> str:
    """The name as a key that MLflow takes, and that no other name has: an attribute may be `a?b`.

    ASCII stays as it is, unless MLflow refuses it or it looks like a key that was changed.
    """
    taken = re.fullmatch(r"[\w\-. /]+", name, flags=re.ASCII) and posixpath.normpath(name) == name
    if taken and name[0] not in "/." and len(name) <= at_most and not is_hashed(name):
        return name
    return hashed(name, at_most=at_most, ascii_only=ascii_only)
