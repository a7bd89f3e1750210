"""A served model that is asked in this process, and pictures to ask about."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tracked import mlflow

from stages.served_model import GlowModel


class Served:
    """A folder of `save_glow`, loaded as MLflow does, and asked."""

    def __init__(self, folder: Path) -> None:
        self._model = GlowModel()
        self._model.load_context(SimpleNamespace(artifacts={"glow": str(folder)}))

    def __call__(
        self, action: str, rows: dict[str, list[Any]], **params: object
    ) -> dict[str, list[Any]]:
        """The columns of the answer."""
        answer = self._model.predict(None, pd.DataFrame(rows), {"action": action, **params})
        return {str(name): list(column) for name, column in answer.items()}

    def refuses(self, action: str, rows: dict[str, list[Any]], **params: object) -> str:
        """Why it is not answered."""
        with pytest.raises(mlflow.MlflowException) as refusal:
            self(action, rows, **params)
        assert refusal.value.get_http_status_code() == 400
        assert "\n" not in refusal.value.message
        return str(refusal.value.message)


def noise(seed: int, *size: int, file_format: str = "PNG") -> str:
    """A picture (width, height) of random bytes, in base64."""
    width, height = size or (8, 8)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format)
    return base64.b64encode(file.getvalue()).decode()


def pixels(png: str) -> Any:  # noqa: ANN401 - an array
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)
