"""What a command of `python -m glow` cannot do is one line, and exit code 2."""

import shlex
from pathlib import Path

import pytest
from commands import refused

from glow.apps.pictures import KINDS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("describe --model faces", "faces has no config.json"),
        ("sample --model none", "`dvc pull` fetches one"),
        ("sample -o faces.jpg", "output is faces.jpg, expected a .png file or a folder"),
        ("sample -n 20000", "20000 images, expected at most 10000 in one picture"),
        ("sample --class Smiling", "expected none, as the model has no classes"),
        ("sample --neighbours none", "none is not there"),
        ("reconstruct none.png", "none.png is not there, expected an image or a folder"),
        ("reconstruct models", f"no {KINDS} in models"),
        ("reconstruct params.yaml", f"params.yaml: expected a {KINDS} image"),
        ("reconstruct faces -o faces", "output is faces, where faces/a.png is"),
        ("reconstruct face.png -o face.png", "output is face.png, where face.png is"),
        ("reconstruct face.png faces/face.png -o back", "several images are named face"),
        ("interpolate face.png", "expected at least 2 images"),
        ("interpolate faces --corners", "--corners is between 4 images, came 6"),
        ("interpolate faces --corners -o m.gif", "--corners makes a PNG"),
        ("interpolate faces -o m.mp4", "output is m.mp4, expected a .png file or a .gif file"),
        ("edit --add Smiling=1", "no images came"),
        ("edit face.png --add Smiling", "--add is 'Smiling', expected as in"),
        ("edit face.png --add Smiling=1 --add Smiling=2", "--add names 'Smiling' twice"),
        ("edit face.png --add Hat=1", "attribute is 'Hat', expected one of Beard, Eyeglasses"),
        ("edit face.png --add Smiling=inf", "alpha is inf, expected a finite number"),
        ("edit face.png --add Smiling=1 --method guided", "needs guide.safetensors and"),
        ("score faces -o scores.txt", "output is scores.txt, expected a .csv file"),
        ("score faces --by oddity", "--by is oddity, expected one of bits_per_dim, corrected"),
        ("score faces --calibration params.yaml", "expected scores.csv as `dvc repro evaluate`"),
        ("doctor faces --device tpu", "device is tpu, expected one that works here"),
        ("describe --model models:/glow@champion", "there is no mlflow.db here"),
        ("describe --model none::models/glow", "DVC does not give none::models/glow"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    arguments: str, said: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = {file: file.stat().st_mtime_ns for file in here.rglob("*")}
    assert said in refused(*shlex.split(arguments))
    assert before == {file: file.stat().st_mtime_ns for file in here.rglob("*")}
