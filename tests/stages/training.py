"""A training as a user starts it: a process in a folder, killed at a step, started again."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from tiny import ROOT, SMALL, tiny

OUTS = ["models/glow", "results/train.json", "results/curves.csv"]
FILES = ["models/glow/model.safetensors", "models/glow/config.json", *OUTS[1:]]
SETTINGS = {
    **SMALL,
    "train.steps": 40,
    "train.valid_every": 5,
    "train.checkpoint_minutes": 0.0,  # one after every step
    "train.warmup_steps": 5,
    "train.decay_steps": 5,
}
UNTRACKED = Path(__file__).parent / "untracked"


@dataclass
class Training:
    """A folder with params.yaml, in which `python -m stages.train` runs without MLflow."""

    folder: Path
    shards: Path

    @classmethod
    def new(cls, folder: Path, shards: Path, **changes: object) -> "Training":
        """With the tiny preset, changed."""
        folder.mkdir()
        with (folder / "params.yaml").open("w") as stream:
            YAML().dump(tiny(**{**SETTINGS, **changes}).model_dump(), stream)
        return cls(folder, shards)

    def start(
        self,
        processes: int = 1,
        *,
        file_bytes: int | None = None,
        log: Path | None = None,
        **env: str,
    ) -> "subprocess.Popen[str]":
        """The command.

        Args:
            processes: of the training.
            file_bytes: how large a file may become, as if the disk was full.
            log: where it prints to, if not into the pipe of the process.
            env: more of the environment.
        """

        def limit() -> None:
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))

        stream = log.open("w") if log else subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-m", "stages.train", str(self.shards), *OUTS],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": f"{UNTRACKED}{os.pathsep}{ROOT}",
                "OMP_NUM_THREADS": "1",
                "GLOW_NPROC": str(processes),
                **env,
            },
            preexec_fn=limit,
            text=True,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )

    def finish(self, processes: int = 1, *, code: int = 0, **options: object) -> str:
        """Runs to the end and returns what was printed."""
        process = self.start(processes, **options)
        output, _ = process.communicate(timeout=200)
        assert process.returncode == code, output
        assert "Traceback" not in output
        return output

    def kill_after(self, steps: int, number: signal.Signals, processes: int = 1) -> str:
        """Starts, sends the signal once so many further steps are kept, returns what was said."""
        target = self.step() + steps
        process = self.start(processes)
        self.wait_for(target, process)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        code = -number if number == signal.SIGKILL else 128 + number
        assert process.returncode == code, output
        assert "Traceback" not in output
        return output

    def wait_for(self, step: int, process: "subprocess.Popen[str]") -> None:
        """Until the checkpoint is of that step; fails if the process ends before."""
        while self.step() < step:
            if process.poll() is not None:
                raise AssertionError(f"ended before step {step}: {process.communicate()[0]}")
            time.sleep(0.005)

    def step(self) -> int:
        """Of the checkpoint; 0 where there is none.

        From one open file: `safe_open` opens a path twice, and between the two a training puts
        its next checkpoint there.
        """
        try:
            with next(iter(self.checkpoints())).open("rb") as stored:
                header = json.loads(stored.read(int.from_bytes(stored.read(8), "little")))
        except (StopIteration, FileNotFoundError):
            return 0
        return int(json.loads(header["__metadata__"]["trainer"])["step"])

    def checkpoints(self) -> list[Path]:
        """The files of all fingerprints."""
        return list(self.folder.glob(".cache/checkpoints/*/trainer.safetensors"))

    def contents(self) -> dict[str, bytes]:
        """Of all outputs."""
        return {name: (self.folder / name).read_bytes() for name in FILES}

    def errors(self, output: str) -> list[str]:
        """The lines that say what went wrong."""
        return [line for line in output.splitlines() if line.startswith("error: ")]
