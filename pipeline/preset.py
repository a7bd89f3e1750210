"""Presets: whole params files to start from, put in place of params.yaml."""

import subprocess
from pathlib import Path

from pipeline.errors import InputError
from pipeline.overrides import PARAMS_FILE, write_atomically

PRESETS = Path(__file__).parent / "presets"


def presets() -> dict[str, str]:
    """What each preset is for, by name: the first line of its file."""
    files = sorted(PRESETS.glob("*.yaml"), key=lambda file: file.stem)
    return {file.stem: _content(file).partition("\n")[0].lstrip("# ") for file in files}


def use_preset(name: str, root: Path, *, force: bool = False) -> None:
    """Writes a preset to params.yaml.

    Args:
        name: of the preset.
        root: of the project.
        force: also when that loses changes which neither git nor a preset holds.

    Raises:
        InputError: there is no such preset, or changes would be lost.
    """
    known = presets()
    if name not in known:
        raise InputError(f"{name!r} is no preset; there are {', '.join(known)}")
    params = root / PARAMS_FILE
    if not force and _would_be_lost(params):
        raise InputError(
            f"{PARAMS_FILE} has uncommitted changes; commit them, or give --force to lose them"
        )
    write_atomically(params, (PRESETS / f"{name}.yaml").read_bytes())


def _would_be_lost(params: Path) -> bool:
    if not params.exists():
        return False
    if _content(params) in {_content(file) for file in PRESETS.glob("*.yaml")}:
        return False
    git = ["git", "status", "--porcelain", "--ignored", "--", params.name]
    status = subprocess.run(git, cwd=params.parent, capture_output=True, text=True, check=False)
    return status.returncode != 0 or bool(status.stdout)


def _content(file: Path) -> str:
    return file.read_text(encoding="utf-8")
