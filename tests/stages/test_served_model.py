"""The served model: what its actions answer, what they refuse."""

import base64
import math
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from served import Served, noise, pixels

from glow import Glow, GlowConfig, load_glow, save_glow, to_levels
from glow.apps.uploads import MAX_IMAGES, read_levels
from stages.likelihood import measure
from stages.params import FolderParams
from stages.sources.folder import FolderSource
from stages.sources.source import Entry


@pytest.fixture
def served(model: Path) -> Served:
    """8x8 pixels, 5 bits, with vectors of two attributes, one the half of the other."""
    vector = torch.linspace(-1.0, 1.0, 192)
    save_file({"Hat": vector, "Half": vector / 2}, model / "attributes.safetensors")
    return Served(model)


def test_samples_depend_on_seed_and_temperature(served: Served) -> None:
    first = served("sample", {"n_images": [3]}, seed=1)["png"]
    assert first == served("sample", {"n_images": [3]}, seed=1)["png"]
    assert first != served("sample", {"n_images": [3]}, seed=2)["png"]
    assert len(set(served("sample", {"n_images": [3]}, temperature=0.0)["png"])) == 1
    assert [pixels(png).shape for png in first] == [(8, 8, 3)] * 3
    assert all((pixels(png) % 8 == 0).all() for png in first)
    assert len(served("sample", {"n_images": [130]})["png"]) == 130


def test_a_score_is_of_the_image_and_the_seed_alone(served: Served) -> None:
    images = [noise(seed) for seed in range(3)]
    together = served("score", {"image": images}, seed=3)["bits_per_dim"]
    alone = [served("score", {"image": [image]}, seed=3)["bits_per_dim"][0] for image in images]
    assert together == pytest.approx(alone, abs=1e-5)
    assert together != served("score", {"image": images}, seed=4)["bits_per_dim"]
    assert together == served("score", {"image": images}, seed=3)["bits_per_dim"]


def test_scores_are_those_of_the_evaluation(served: Served, model: Path) -> None:
    image = noise(0)
    answer = served("score", {"image": [image]}, n_dequantizations=64)
    ((bits,), (log_prob,)) = answer["bits_per_dim"], answer["log_prob"]
    assert bits == pytest.approx(5 - log_prob / (192 * math.log(2)))
    glow = load_glow(model)
    levels = torch.from_numpy(to_levels(pixels(image), 5)).permute(2, 0, 1)[None]
    generator = torch.Generator().manual_seed(5)
    found = measure(glow, levels, None, n_draws=400, batch_size=1, generator=generator)
    error = float(found.draws.std()) / 8
    assert abs(bits - float(found.bits)) < 4 * error


def test_reconstructions_are_the_very_pixels_that_the_model_was_given(served: Served) -> None:
    image = noise(0)
    answer = served("reconstruct", {"image": [image, noise(1)]})
    assert answer["max_difference"] == [0, 0]
    assert (pixels(answer["png"][0]) == pixels(image) // 8 * 8).all()


def test_edits_move_along_the_vector(served: Served) -> None:
    images = {"image": [noise(0)]}
    kept = served("edit", images, attribute="Hat", alpha=0.0)["png"]
    edited = served("edit", images, attribute="Hat", alpha=1.0)["png"]
    assert kept == served("reconstruct", images)["png"]
    assert edited != kept
    assert edited == served("edit", images, attribute="Half", alpha=2.0)["png"]
    assert edited != served("edit", images, attribute="Hat", alpha=-1.0)["png"]


def test_requests_at_once_are_answered_as_one_by_one(served: Served, model: Path) -> None:
    images = [noise(seed) for seed in range(8)]
    alone = [served("score", {"image": [image]}) for image in images]
    at_once = Served(model)  # whose folded weights the first requests compute
    with ThreadPoolExecutor(8) as pool:
        together = pool.map(lambda image: at_once("score", {"image": [image]}), images)
        assert list(together) == alone


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
@pytest.mark.parametrize("size", [(8, 8), (31, 17), (3, 40)])
def test_images_are_read_as_the_pipeline_reads_them(
    tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    drawn = Image.effect_noise(size, 90.0)
    name = "image.jpg" if mode == "CMYK" else "image.png"
    (drawn.convert("I").convert(mode) if mode == "I;16" else drawn.convert(mode)).save(
        tmp_path / name
    )
    params = {"path": str(tmp_path), "attributes": None, "splits": None, "crop": "center"}
    source = FolderSource(
        FolderParams.model_validate({**params, "tile_size": 4, "tile_scale": 1.0}), 8
    )
    by_pipeline = to_levels(source.read(Entry(name)).pixels, 5)
    config = GlowConfig(image_size=8, n_bits=5, n_levels=2, depth=1, hidden_channels=4)
    text = base64.encodebytes((tmp_path / name).read_bytes()).decode()  # with line breaks
    (levels,) = read_levels([f"data:image/png;base64,{text}"], config)
    assert (levels.permute(1, 2, 0).numpy() == by_pipeline).all()


def bomb(side: int) -> str:
    """A PNG of some 150 bytes whose header promises a huge picture."""
    header = b"IHDR" + struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    data = struct.pack(">I", 100) + b"IDAT" + bytes(104)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunk + data).decode()


@pytest.mark.parametrize(
    ("action", "rows", "params", "message"),
    [
        ("paint", {"image": ["x"]}, {}, "'paint', expected one of sample, score, reconstruct, e"),
        ("sample", {"n_images": [0]}, {}, "0 images, expected 1 to 1000"),
        ("sample", {"n_images": [1001]}, {}, "1001 images, expected 1 to 1000"),
        ("sample", {"n_images": [1, 2]}, {}, "one row with a column n_images, came 2"),
        ("sample", {"image": ["x"]}, {}, "column n_images, came 1 with image"),
        ("sample", {"n_images": [1]}, {"temperature": -1.0}, r"-1\.0, expected at least 0\.0"),
        ("sample", {"n_images": [1]}, {"temperature": math.nan}, "temperature is nan"),
        ("sample", {"n_images": [1], "class": ["Hat"]}, {}, "'Hat', expected none, as the model"),
        ("score", {"n_images": [1]}, {}, "score needs a column image, came n_images"),
        ("score", {"image": [noise(0), None]}, {}, "image 2 of 2: .* base64, came None"),
        ("score", {"image": ["a?b"]}, {}, "image 1 of 1: expected a file in base64, came other"),
        ("score", {"image": ["aGVsbG8="]}, {}, "PNG, JPEG or WebP image, came something else"),
        ("score", {"image": [noise(0)[:120]]}, {}, "expected a whole image, came a damaged one"),
        ("score", {"image": ["A" * (23 * 2**20)]}, {}, "expected at most 16777216 bytes"),
        ("score", {"image": [bomb(6000)]}, {}, "at most 32000000 pixels, came 6000x6000"),
        ("score", {"image": [bomb(9600)]}, {}, "expected a smaller image, came a huge one"),
        ("score", {"image": [bomb(40000)]}, {}, "expected a smaller image, came a huge one"),
        ("score", {"image": ["x"] * (MAX_IMAGES + 1)}, {}, "1001 images, expected 1 to 1000"),
        ("score", {"image": [noise(0)]}, {"n_dequantizations": 0}, "is 0, expected 1 to 64"),
        ("edit", {"image": [noise(0)]}, {}, "attribute is '', expected one of Half, Hat"),
        ("edit", {"image": [noise(0)]}, {"attribute": "Hat", "alpha": math.inf}, "alpha is inf"),
    ],
)
def test_a_bad_request_is_refused_in_a_line(
    served: Served,
    action: str,
    rows: dict[str, list[Any]],
    params: dict[str, Any],
    message: str,
) -> None:
    refusal = served.refuses(action, rows, **params)
    assert re.search(message, refusal), refusal


def test_edit_says_what_adds_attribute_vectors(model: Path) -> None:
    refusal = Served(model).refuses("edit", {"image": [noise(0)]}, attribute="Hat")
    assert "`dvc repro attributes` adds them, then load the model again" in refusal


def test_a_model_with_classes_is_told_the_class_or_takes_them_in_turn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GlowConfig(
        image_size=8, n_bits=5, n_levels=2, depth=1, hidden_channels=4, classes=("cat", "dog")
    )
    glow = Glow(config)
    glow.initialize(torch.rand(4, 3, 8, 8) - 0.5)
    with torch.no_grad():
        for parameter in glow.top.parameters():
            parameter.normal_(std=0.5)
    save_glow(glow, tmp_path)
    served = Served(tmp_path)

    mixed = served("sample", {"n_images": [2]})["png"]
    dogs = served("sample", {"n_images": [2], "class": ["dog"]})["png"]
    assert (mixed[0] != dogs[0], mixed[1] == dogs[1]) == (True, True)

    images = [noise(0)] * 2
    bits = served("score", {"image": images, "class": ["cat", "dog"]})["bits_per_dim"]
    assert bits[0] != pytest.approx(bits[1], abs=1e-4)
    answer = served("reconstruct", {"image": images, "class": ["cat", "dog"]})
    assert answer["max_difference"] == [0, 0]
    assert "class is missing, expected one of cat, dog" in served.refuses(
        "score", {"image": images, "class": ["cat", None]}
    )
    assert "class is missing" in served.refuses("score", {"image": images})
    assert "class is 'cow'" in served.refuses("sample", {"n_images": [1], "class": ["cow"]})
