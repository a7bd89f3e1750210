"""`dvc exp run --temp` on images that git knows nothing of: said in a line, which also helps."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML
from tiny import ROOT

from stages.copied_checkout import told_of_missing_files
from stages.errors import InputError
from stages.sources.files import Location

DVC = [sys.executable, "-m", "dvc"]
DVC_YAML = """
stages:
  preprocess:
    cmd: python -m stages.preprocess shards
    deps: ["${data.folder.path}"]
    params: [seed, data]
    outs: [shards]
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With 30 images, of which git knows as much as here: the note beside them."""
    root = tmp_path / "main"
    (root / "data/raw/cats").mkdir(parents=True)
    (root / "data/raw/README.md").touch()
    for number in range(30):
        color = (8 * number, 0, 0)
        Image.new("RGB", (8, 8), color).save(root / f"data/raw/cats/{number}.png")
    (root / ".gitignore").write_text("/data/raw/*\n!/data/raw/README.md\n/shards\n.cache/\n")
    (root / "dvc.yaml").write_text(DVC_YAML)
    params = YAML(typ="safe").load((ROOT / "pipeline/presets/tiny.yaml").read_text())
    params["data"] |= {"source": "folder", "image_size": 8, "split": {"valid": 0.3, "test": 0.3}}
    params["train"]["batch_size"] = 4
    YAML().dump(params, root / "params.yaml")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    path = [str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.invalid")
    for command in (
        ["git", "init", "--quiet"],
        [*DVC, "init", "--quiet"],
        [*DVC, "config", "core.analytics", "false"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message", "first"],
    ):
        subprocess.run(command, cwd=root, check=True)
    return root


def run(checkout: Path, *options: str) -> tuple[int, str]:
    command = [*DVC, "exp", "run", "--temp", *options]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_a_copy_without_the_images_says_so_and_how_to_have_them(checkout: Path) -> None:
    code, told = run(checkout)
    assert code != 0
    (line,) = re.findall(r"^error: (.*)$", told, re.MULTILINE)
    assert line.startswith("data/raw: 30 files are missing in this copy of the checkout")
    (advised,) = re.findall(r"-S '(.*)' to ", line)

    code, told = run(checkout, "--name", "helped", "-S", advised)
    assert code == 0, told
    assert "in this copy" not in told
    applied = [*DVC, "exp", "apply", "helped"]
    subprocess.run(applied, cwd=checkout, check=True, capture_output=True)
    assert (checkout / "shards/dataset.json").is_file()


def test_a_copy_with_some_of_the_images_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main, copy = tmp_path / "main", tmp_path / "copy"
    for root, names in ((main, "abc"), (copy, "ac")):
        (root / "raw/below").mkdir(parents=True)
        for name in names:
            (root / "raw/below" / name).touch()
    monkeypatch.setenv("DVC_ROOT", str(main))
    for root, lines in ((main, 0), (copy, 1)):
        monkeypatch.chdir(root)
        for path in ("raw", str(main / "raw"), "s3://bucket/raw"):
            with told_of_missing_files(Location(path)):
                pass
        told = capsys.readouterr().err.splitlines()
        assert [line.startswith("warning: raw: 1 files are") for line in told] == [True] * lines


def test_an_error_that_is_none_of_the_copy_is_told_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "main"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^no table$"), told_of_missing_files(Location("raw")):
        raise InputError("no table")
