"""The tests marked `proof`, as far as they can run here, beside what else is done."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO

TESTS = Path(__file__).resolve().parents[2] / "tests" / "glow"
DRY = "test_enumeration.py"
# without our options, which want plugins, and without conftest.py, whose commands want packages
ALONE = ["-o", "addopts=", "--noconftest", "-p", "no:cacheprovider"]


class Proofs:
    """Runs them inside of itself; at its end they are stopped if they are not done.

    Args:
        log: where their output goes.
        dry: one file of them.
    """

    def __init__(self, log: Path, *, dry: bool) -> None:
        self.log = log
        self._files = [TESTS / DRY] if dry else runnable(TESTS)
        self._stream: IO[bytes]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Proofs":
        self._stream = self.log.open("wb")
        if importlib.util.find_spec("pytest") is not None and self._files:
            names = [str(file) for file in self._files]
            command = [sys.executable, "-m", "pytest", "-q", "-m", "proof", *ALONE]
            self._process = subprocess.Popen(
                [*command, *names],
                stdout=self._stream,
                stderr=subprocess.STDOUT,
                cwd=TESTS.parents[1],
                env={**os.environ, "OMP_NUM_THREADS": "1"},  # their tensors are tiny
            )
        return self

    def outcome(self, seconds: float) -> str:
        """Pytest's last line, once it is there; waits as long as that."""
        if self._process is None:
            return "not run, for want of pytest"
        files = f"{len(self._files)} files"
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return f"not done in time ({files})"
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"{lines[-1] if lines else 'no output'} ({files})"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._stream.close()


def runnable(folder: Path) -> list[Path]:
    """Files with tests of that mark whose imports are there; their neighbours need no more."""
    files = sorted(folder.glob("test_*.py"))
    return [file for file in files if "mark.proof" in file.read_text() and _importable(file)]


def _importable(file: Path) -> bool:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    roots = {module.partition(".")[0] for module in modules}
    wanted = (root for root in roots if not (file.parent / f"{root}.py").is_file())
    apart = any(module.startswith("glow.apps") for module in modules)  # which want packages
    return not apart and all(importlib.util.find_spec(root) is not None for root in wanted)
