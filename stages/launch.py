"""A stage in several processes of this machine: torchrun's agent starts and watches them.

The process that was called stays as their parent. It passes SIGTERM and Ctrl-C on, waits until
all have ended, and ends as they did: with one line and the exit code of the first that failed.
From SIGTERM to SIGKILL torchrun gives them 30 s for a checkpoint, as Slurm and Kubernetes do.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from stages.distributed import is_launched, wanted_processes
from stages.errors import ERRORS, FIRST, FOLLOWING, show

PARENT = "GLOW_PARENT"  # set in the processes started here: who watches them
STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGINT)
AT_ONCE = 2  # seconds between failures of one cause


def launch(module: str) -> None:
    """Runs `python -m module` in several processes and ends; returns where it is to go on here.

    Raises:
        InputError: GLOW_NPROC is no number of processes.
        SystemExit: several processes ran, with their exit code.
    """
    count = wanted_processes()
    if is_launched() or count == 1:
        return
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # we say it
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    os.environ[PARENT] = str(os.getpid())
    with TemporaryDirectory(prefix="glow-") as folder:
        os.environ[ERRORS] = folder
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            run_id="glow",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            signals_to_handle="SIGTERM,SIGINT",
        )
        try:
            elastic_launch(config, sys.executable)("-m", module, *sys.argv[1:])
        except SignalException as stopped:
            sys.exit(128 + stopped.sigval)
        except ChildFailedError as failed:
            sys.exit(_explain(Path(folder), failed.failures, count))
    sys.exit(0)


def _explain(folder: Path, failures: Mapping[int, ProcessFailure], count: int) -> int:
    """Says why the processes ended, in a line, and returns the exit code."""
    told = _told(folder / FIRST)
    if told:
        show(told["message"])
        return int(told["code"])
    rank, failure = _first(failures)
    if failure.exitcode in STOPPED:
        return failure.exitcode
    again = "`dvc repro` starts all again, a training from its last checkpoint"
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        show(f"process {rank} of {count} was killed by {name} (out of memory?); {again}")
    elif told := _told(folder / FOLLOWING):
        show(f"{told['message']}; {again}")
    else:
        show(f"process {rank} of {count} failed with exit code {failure.exitcode}; {again}")
    return 1


def _told(file: Path) -> dict[str, str] | None:
    try:
        told: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told


def _first(failures: Mapping[int, ProcessFailure]) -> tuple[int, ProcessFailure]:
    """The one that others followed: what a signal killed, of those that ended first."""
    began = min(failure.timestamp for failure in failures.values())
    early = {r: f for r, f in failures.items() if f.timestamp <= began + AT_ONCE}
    return min(early.items(), key=lambda item: item[1].exitcode >= 0)
