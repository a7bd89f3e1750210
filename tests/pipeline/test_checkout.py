"""A checkout in which other params stand for a while is afterwards as it was, come what may."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.checkout import one_flow_at_a_time, with_params
from pipeline.errors import InputError, PipelineError

ROOT = Path(__file__).resolve().parents[2]
DVC = [sys.executable, "-m", "dvc"]
OTHER = "number: 1 ", "number: 2 "


def call(project: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)
    return done.stdout


def changed(project: Path) -> str:
    return (project / "params.yaml").read_text().replace(*OTHER)


def state(project: Path) -> dict[str, bytes]:
    """The content of every file, and what git says of them."""
    files = [file for file in project.rglob("*") if file.is_file()]
    ours = [file for file in files if not {".dvc", ".git"} & set(file.parts)]
    status = call(project, "git", "status", "--porcelain", "--untracked-files=all")
    return {**{str(file): file.read_bytes() for file in ours}, "git": status.encode()}


def rebuild(project: Path) -> None:
    """What `dvc repro` does to the files, in no time."""
    for name in ("last.txt", "last.json"):
        (project / name).unlink(missing_ok=True)
        (project / name).write_text("rebuilt")
    for name in ("pictures", "parts"):
        shutil.rmtree(project / name, ignore_errors=True)
        (project / name).mkdir()
        (project / name / "0").write_text("rebuilt")
        (project / name / "1").write_text("is new")
    (project / "dvc.lock").write_text("rebuilt")


@pytest.fixture(scope="module")
def built_once(empty_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All is up to date, and staged in git as far as DVC does that."""
    root = tmp_path_factory.mktemp("built") / "project"
    shutil.copytree(empty_project, root)
    call(root, *DVC, "config", "core.autostage", "true")
    call(root, *DVC, "repro", "--quiet")
    return root


@pytest.fixture
def built(built_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(built_once, root)
    monkeypatch.setenv("GLOW_ROOT", str(root))
    return root


@contextmanager
def killed(project: Path, *, at: str) -> Iterator[None]:
    """A process that ran the stages on other params, and was killed when it had come so far."""
    script = """
import shutil, sys
from pathlib import Path
from pipeline import checkout
from test_checkout import rebuild
root, text, at = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def stop(*_: object) -> None:
    print("there", flush=True)
    sys.stdin.read()

if at == "begun":
    checkout.write_atomically = stop
if at == "putting back":
    move, moved = shutil.move, []
    def some(*paths):
        if len(moved) == 2: stop()
        moved.append(move(*paths))
    shutil.move = some
with checkout.one_flow_at_a_time(root, print), checkout.with_params(root, text, print):
    rebuild(root)
    if at == "run": stop()
"""
    command = [sys.executable, "-c", script, str(project), changed(project), at]
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent), str(ROOT / "tests")])
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "there\n"
        finally:
            process.send_signal(signal.SIGKILL)
    yield


def test_all_is_as_it_was_whatever_an_output_is(built: Path) -> None:
    before = state(built)
    with with_params(built, changed(built), print):
        call(built, *DVC, "repro", "--quiet")
        for file in ("last.txt", "pictures/all/0", "parts/0"):
            assert "number: 2 " in (built / file).read_text()
    assert state(built) == before
    assert call(built, *DVC, "status", "--quiet") == ""
    assert not (built / ".dvc/tmp/before").exists()


def test_what_was_not_there_is_not_there_afterwards(project: Path) -> None:
    before = state(project)
    with with_params(project, changed(project), print):
        rebuild(project)
    assert state(project) == before


def test_outputs_that_dvc_has_not_in_its_cache_are_not_lost(built: Path) -> None:
    (built / "last.txt").unlink()
    (built / "last.txt").write_text("edited by hand")
    shutil.rmtree(built / "pictures")
    (built / "pictures").mkdir()
    (built / "pictures/mine").write_text("by hand too")
    shutil.rmtree(built / ".dvc/cache")
    before = state(built)
    with with_params(built, changed(built), print):
        rebuild(built)
    assert state(built) == before


def test_outputs_are_not_copied(built: Path) -> None:
    before = (built / "parts/0").stat()
    with with_params(built, changed(built), print):
        rebuild(built)
        assert (built / "parts/0").stat().st_ino != before.st_ino
    assert (built / "parts/0").stat().st_ino == before.st_ino


def test_an_output_that_only_the_other_params_have_is_gone_afterwards(project: Path) -> None:
    (project / "dvc.yaml").write_text("""
stages:
  draw:
    foreach: ${temperatures}
    do:
      cmd: echo ${item} > drawn-${item}.txt
      outs: ["drawn-${item}.txt"]
""")
    text = (project / "params.yaml").read_text().replace("[0.5, 1.0]", "[0.25]")
    with with_params(project, text, print):
        (project / "drawn-0.25.txt").touch()
    assert not (project / "drawn-0.25.txt").exists()


def test_params_that_were_edited_meanwhile_stay(built: Path) -> None:
    before = state(built)
    said: list[str] = []
    with with_params(built, changed(built), said.append):
        rebuild(built)
        edited = changed(built).replace("rate: 2.0e-3", "rate: 5.0e-3")
        (built / "params.yaml").write_text(edited)
    assert said == ["params.yaml was edited meanwhile and stays, with this run's overrides"]
    assert (built / "params.yaml").read_text() == edited
    call(built, "git", "checkout", "--quiet", "params.yaml")
    assert state(built) == before


def test_a_dvc_yaml_that_the_params_break_is_refused_and_nothing_has_changed(
    project: Path,
) -> None:
    (project / "dvc.yaml").write_text("stages:\n  a:\n    cmd: echo ${nothing.at.all}\n")
    before = state(project)
    with pytest.raises(InputError, match=r"DVC cannot read"), with_params(project, "a: 1", print):
        pytest.fail("it can")
    assert state(project) == before


@pytest.mark.parametrize("at", ["begun", "run", "putting back"])
def test_what_a_killed_run_leaves_the_next_one_undoes(built: Path, at: str) -> None:
    before = state(built)
    said: list[str] = []
    with killed(built, at=at), one_flow_at_a_time(built, said.append):
        assert state(built) == before
    end = "nothing is put back" if at == "begun" else "all is put back as it was before"
    assert [line.endswith(end) for line in said] == [True]
    with one_flow_at_a_time(built, said.append):
        assert len(said) == 1


def test_what_was_edited_after_a_run_was_killed_stays(built: Path) -> None:
    said: list[str] = []
    with killed(built, at="run"):
        call(built, "git", "checkout", "--quiet", "params.yaml")
        rebuild(built)
        (built / "last.txt").unlink()
        (built / "last.txt").write_text("newer")
        with one_flow_at_a_time(built, said.append):
            assert (built / "last.txt").read_text() == "newer"
    assert said[0].endswith("params.yaml is not as that left it: nothing is put back")
    assert not os.path.lexists(built / ".dvc/tmp/before")


def test_what_could_not_be_put_back_is_not_lost(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = state(built)
    said: list[str] = []
    with one_flow_at_a_time(built, said.append):  # a sweep
        with monkeypatch.context() as disk:
            with with_params(built, changed(built), said.append):
                rebuild(built)
                disk.setattr(shutil, "move", full)
            with pytest.raises(PipelineError), one_flow_at_a_time(built, said.append):
                pass
        assert "the checkout is not yet as it was" in said[0]
        with one_flow_at_a_time(built, said.append):
            assert state(built) == before
