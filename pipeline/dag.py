"""The stages of dvc.yaml as DVC itself reads it: an order in which they can run, their outputs."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import networkx as nx
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage import Stage

from pipeline.errors import InputError

DVC_FILE = "dvc.yaml"


def project_root() -> Path:
    """The DVC project that is run: the one this package lies in, unless `GLOW_ROOT` names another.

    Read at each call, so that the process Prefect starts for a flow run finds the same one.
    """
    return Path(os.environ.get("GLOW_ROOT") or Path(__file__).parents[1]).resolve()


def stage_order(root: Path) -> list[str]:
    """Names every stage after the stages whose outputs it depends on.

    DVC reads the file, so templates, `foreach` and stages of further dvc.yaml files work as in
    `dvc repro`. Of stages that do not depend on each other, the one written first comes first.
    Files under `dvc add` are left out: they have nothing to run, and DVC hashes them with the
    stage that reads them.

    Raises:
        InputError: there is no DVC project, or its dvc.yaml is refused by DVC.
    """
    with _read(root) as repo:
        written = {stage: place for place, stage in enumerate(repo.index.stages)}
        downstream = repo.index.graph.reverse()
        ordered = list(nx.lexicographical_topological_sort(downstream, key=written.__getitem__))
        return [address(stage) for stage in ordered if stage.cmd]


def outputs(root: Path) -> list[Path]:
    """Files and folders that the stages write, cached or not; not what is under `dvc add`.

    Raises:
        InputError: there is no DVC project, or its dvc.yaml is refused by DVC.
    """
    with _read(root) as repo:
        outs = [out for stage in repo.index.stages if stage.cmd for out in stage.outs]
        return [Path(out.fs_path) for out in outs if out.protocol == "local"]


@contextmanager
def _read(root: Path) -> Iterator[Repo]:
    try:
        with Repo(str(root)) as repo:
            yield repo
    except DvcException as error:
        reason = " ".join(str(error).split())
        raise InputError(f"DVC cannot read {root / DVC_FILE}: {reason}") from error


def choose(order: Sequence[str], names: Sequence[str] | None) -> list[str]:
    """Those of the stages that are named, still in the order in which they can run.

    Raises:
        InputError: a name is none of a stage.
    """
    if names is None:
        return list(order)
    if unknown := [name for name in names if name not in order]:
        raise InputError(f"{unknown[0]!r} is no stage of {DVC_FILE}; it has {', '.join(order)}")
    return [stage for stage in order if stage in names]


def address(stage: Stage) -> str:
    """What `dvc repro` run at the root calls the stage; DVC's own answer depends on the cwd."""
    file: str = stage.path_in_repo
    return str(stage.name) if file == DVC_FILE else f"{file}:{stage.name}"
