"""What a stage prints arrives line by line, and nothing of it survives an interruption."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from waiting import is_running, wait_for

from pipeline import process


def run(script: str, folder: Path, **options: float) -> tuple[int, list[str]]:
    lines: list[str] = []
    command = [sys.executable, "-u", "-c", script]
    code = process.run(command, cwd=folder, environment=os.environ, log=lines.append, **options)
    return code, lines


def interrupt_once_there(file: Path) -> threading.Thread:
    """Ctrl-C in this process as soon as a stage has written the file."""

    def interrupt() -> None:
        wait_for(file.exists, f"{file.name} is written")
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    return thread


def test_lines_and_exit_code(tmp_path: Path) -> None:
    script = "import sys; print('one'); print('zwei ü', file=sys.stderr); print('three', end='')"
    assert run(script, tmp_path) == (0, ["one", "zwei ü", "three"])
    assert run("import sys; sys.exit(3)", tmp_path) == (3, [])


def test_every_line_of_a_talkative_command_arrives(tmp_path: Path) -> None:
    code, lines = run("for i in range(20000): print(i)", tmp_path)
    assert code == 0
    assert lines == [str(i) for i in range(20000)]


def test_lines_arrive_while_the_command_runs(tmp_path: Path) -> None:
    script = "import os, time\nprint('go')\nwhile not os.path.exists('seen'): time.sleep(0.01)"
    command = [sys.executable, "-u", "-c", script]
    code = process.run(
        command, cwd=tmp_path, environment=os.environ, log=lambda _: (tmp_path / "seen").touch()
    )
    assert code == 0


def test_what_a_command_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    background = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"
    began = time.monotonic()
    code, lines = run(background, tmp_path)
    assert (code, time.monotonic() - began < 30) == (0, True)
    os.kill(int(lines[0]), signal.SIGKILL)


def test_an_interrupted_command_may_finish_what_it_does(tmp_path: Path) -> None:
    script = """
import signal, sys, time
def stop(*_):
    time.sleep(0.3)
    print("checkpoint written")
    open("checkpoint", "w")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
open("started", "w")
time.sleep(60)
"""
    interrupt_once_there(tmp_path / "started")
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        process.run(
            [sys.executable, "-u", "-c", script],
            cwd=tmp_path,
            environment=os.environ,
            log=lines.append,
        )
    assert lines == ["checkpoint written"]
    assert (tmp_path / "checkpoint").exists()


def test_nothing_survives_that_does_not_listen(tmp_path: Path) -> None:
    """A child that ignores SIGTERM and prints on, and one in a session of its own."""
    script = """
import os, signal, subprocess, sys, time
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
child = subprocess.Popen([sys.executable, "-c", stubborn + "\\nwhile True: print(1, flush=True)"])
away = subprocess.Popen(["sleep", "60"], start_new_session=True)
open("partial", "w").write(f"{os.getpid()} {child.pid} {away.pid}")
os.rename("partial", "pids")
time.sleep(60)
"""
    interrupt_once_there(tmp_path / "pids")
    with pytest.raises(KeyboardInterrupt):
        run(script, tmp_path, grace=0.5)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    wait_for(lambda: not any(map(is_running, pids)), "all of them end")


def test_a_stage_does_not_outlive_the_command_that_ran_it(tmp_path: Path) -> None:
    """`dvc` killed by hand, or for want of memory, leaves its stage behind."""
    script = """
import os, signal, subprocess
print(subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL).pid)
os.kill(os.getpid(), signal.SIGKILL)
"""
    code, lines = run(script, tmp_path)
    assert code == -signal.SIGKILL
    wait_for(lambda: not is_running(int(lines[0])), "the stage ends")


def test_the_session_is_not_ours(tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches a stage only through the flow."""
    _, lines = run("import os; print(os.getsid(0))", tmp_path)
    assert int(lines[0]) != os.getsid(0)
