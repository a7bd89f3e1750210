"""Preprocess as a user starts it: killed and started again, twice at once, on a full disk."""

import os
import re
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from PIL import Image
from ruamel.yaml import YAML
from tiny import ROOT, SMALL, tiny
from waiting import is_running, wait_for

from stages.files_of import stamps
from stages.listing import Listing
from stages.sources.choose import make_source
from stages.sources.files import Location
from stages.unfinished import KEPT, UNFINISHED, Unfinished

SETTINGS = {**SMALL, "data.avatars.n_images": 400, "data.shard_size": 20}
N_SHARDS = 22  # of which those at the ends of the splits are shorter


@dataclass
class Project:
    """A folder with params.yaml, in which `python -m stages.preprocess` runs."""

    folder: Path

    @classmethod
    def new(cls, folder: Path, **changes: object) -> "Project":
        """With the tiny preset, changed."""
        folder.mkdir(exist_ok=True)
        with (folder / "params.yaml").open("w") as stream:
            YAML().dump(tiny(**{**SETTINGS, **changes}).model_dump(), stream)
        return cls(folder)

    def start(
        self, workers: int, out: str = "shards", *, file_bytes: int | None = None
    ) -> "subprocess.Popen[str]":
        """The command; `file_bytes` is how large a file may become, as if the disk was full."""

        def limit() -> None:
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))

        return subprocess.Popen(
            [sys.executable, "-m", "stages.preprocess", f"data/{out}"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "GLOW_WORKERS": str(workers)},
            preexec_fn=limit,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def finish(self, workers: int, *, code: int = 0, file_bytes: int | None = None) -> str:
        """Runs to the end and returns what was printed."""
        process = self.start(workers, file_bytes=file_bytes)
        output, _ = process.communicate(timeout=100)
        assert process.returncode == code, output
        assert "Traceback" not in output
        return output

    def kill_after(self, n_shards: int, workers: int) -> None:
        """SIGKILL once so many shards are finished; its workers have to end by themselves."""
        process = self.start(workers)
        wait_for(
            lambda: len(self.finished()) >= n_shards or process.poll() is not None, "shards", 90.0
        )
        workers_of = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
        assert len(workers_of) > workers
        wait_for(lambda: not any(is_running(of.pid) for of in workers_of), "workers end")

    def finished(self) -> list[Path]:
        """A file for each finished shard."""
        return list(self.folder.glob(".cache/preprocess/*/journal/*.json"))

    def contents(self, out: str = "shards") -> dict[str, bytes]:
        """Of all that was written."""
        root = self.folder / "data" / out
        files = sorted(file for file in root.rglob("*") if file.is_file())
        return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes undisturbed."""
    project = Project.new(tmp_path_factory.mktemp("whole"))
    project.finish(1)
    contents = project.contents()
    assert sum(name.endswith(".tar") for name in contents) == N_SHARDS
    assert {"dataset.json", "duplicates.csv", "figures/train.png"} <= contents.keys()
    assert not list(project.folder.glob(".cache/preprocess/*/"))
    return contents


def test_killed_and_started_again_gives_the_same_bytes(
    whole: dict[str, bytes], tmp_path: Path
) -> None:
    project = Project.new(tmp_path)
    project.kill_after(3, workers=2)
    done = len(project.finished())
    assert 3 <= done < N_SHARDS
    assert not (tmp_path / "data").exists()
    output = project.finish(4)
    assert f"goes on: {done} of {N_SHARDS} shards are finished" in output
    assert project.contents() == whole
    assert not list(tmp_path.glob(".cache/preprocess/*/"))


def test_a_full_disk_loses_no_finished_shard(whole: dict[str, bytes], tmp_path: Path) -> None:
    sizes = sorted(len(content) for name, content in whole.items() if name.endswith(".tar"))
    project = Project.new(tmp_path)
    output = project.finish(1, code=1, file_bytes=sizes[-1] - 1)
    (error,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "a shard cannot be written: [Errno 27] File too large" in error
    assert "make room" in error
    assert not list(tmp_path.rglob("*.tmp"))
    project.finish(2)
    assert project.contents() == whole


def test_of_two_at_once_one_waits_and_says_so(whole: dict[str, bytes], tmp_path: Path) -> None:
    project = Project.new(tmp_path)
    first = project.start(1, "first")
    wait_for(project.finished, "a shard", 90.0)
    second = project.start(1, "second")
    outputs = [process.communicate(timeout=100)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert "another process makes the same shards and holds" in outputs[1]
    assert "waits for it" not in outputs[0]
    assert project.contents("first") == project.contents("second") == whole


def test_what_other_params_left_long_ago_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for age in range(KEPT + 2):
        with Unfinished.open(f"data{age}") as unfinished:
            (unfinished.shards / "train-000000.tar").write_bytes(bytes(3_000_000))
        os.utime(unfinished.shards.parent, (age, age))
    folders = {path.name for path in (tmp_path / UNFINISHED).iterdir() if path.is_dir()}
    assert folders == {f"data{age}" for age in range(1, KEPT + 2)}
    assert re.fullmatch(r"removed .*/data0: 3 MB of shards .*\n", capsys.readouterr().err)


def test_changed_params_or_files_are_other_shards(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(file)
    folder = {**SETTINGS, "data.source": "folder", "data.folder.path": str(tmp_path)}

    def fingerprint(seed: int = 0, **changes: object) -> str:
        data = tiny(**folder, **changes).data
        listing = Listing.of(make_source(data, seed).entries(), data)
        return listing.fingerprint(data, seed, stamps(Location(str(tmp_path))))

    first = fingerprint()
    assert fingerprint() == first
    assert fingerprint(**{"data.on_error": "skip", "data.max_bad": 0.5}) == first
    others = [fingerprint(1), fingerprint(**{"data.n_bits": 4})]
    os.utime(file, (1, 1))
    others.append(fingerprint())
    file.write_bytes(file.read_bytes() + b"\0")
    os.utime(file, (1, 1))
    others.append(fingerprint())
    file.rename(tmp_path / "b.png")
    others.append(fingerprint())
    assert len({first, *others}) == 6
