"""What a stage computes with: our own files that its modules import, and a digest of them.

dvc.yaml lists the same files as the stage's dependencies (tests/test_architecture.py holds that),
so what DVC would run again is what unfinished work is not taken over from.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# to MLflow: they change no output, so neither DVC nor unfinished work depends on them
REPORTS = {"stages/machine.py", "stages/speed.py", "stages/tracking.py"}


def digest_of(modules: Iterable[str], libraries: Iterable[str]) -> str:
    """A hash, 16 hexadecimal digits, of the code that modules need, and of libraries' versions."""
    digest = hashlib.sha256(repr([(name, version(name)) for name in libraries]).encode())
    for name in sorted(set().union(*(files_of(module) for module in modules))):
        content = (ROOT / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def files_of(module: str) -> set[str]:
    """Our own files that a module needs, directly or not, itself among them, below ROOT.

    Imports inside of functions count; a name that a package passes on counts as the file that
    defines it.
    """
    seen: set[str] = set()
    waiting = [_file_of(module)]
    while waiting:
        name = waiting.pop()
        if name is not None and name not in seen and name not in REPORTS:
            seen.add(name)
            waiting += map(_file_of, _needed(ROOT / name))
    return seen


def imports(file: Path) -> set[str]:
    """Full names of the modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _needed(file: Path) -> set[str]:
    names, passed_on = imports(file), _passed_on()
    names |= {passed_on[name] for name in names & passed_on.keys()}
    return names - {"glow"}


@cache
def _passed_on() -> dict[str, str]:
    """What the package `glow` passes on, and the module that each name is from."""
    tree = ast.parse((ROOT / "glow" / "__init__.py").read_bytes())
    return {
        f"glow.{alias.name}": node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _file_of(module: str) -> str | None:
    """Below ROOT; None for a module of others, a name in a module, an empty package."""
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file() and file.stat().st_size:
            return file.relative_to(ROOT).as_posix()
    return None
