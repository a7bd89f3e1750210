"""The model as MLflow serves it: a number of images in, PNGs out.

MLflow stores this file beside the weights and runs it to load the model ("models from code"), so
nothing is pickled. It is the one module besides tracking that imports mlflow, and the only one at
its top: nothing but MLflow loads it.
"""

import base64
import io
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

BATCH_SIZE = 64  # images decoded at once, so that memory does not grow with the request


class GlowModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped for mypy
    """Samples a trained Glow.

    The input has one row and one column, `n_images`; the output a row per image and one column,
    `png`, as base64 text. The same `seed` and `temperature` give the same images.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the weights that were logged with the model."""
        from glow import load_glow

        self._glow = load_glow(context.artifacts["glow"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Draws `n_images` images at `params["temperature"]` from `params["seed"]`.

        Raises:
            MlflowException: the input is not one row of `n_images`, or a number is out of range;
                the server passes its message on.
        """
        import torch

        from glow import quantize, to_pixels

        options = {"temperature": 0.7, "seed": 0, **(params or {})}
        if len(model_input) != 1:
            raise _refusal(f"the input has {len(model_input)} rows, expected 1, with n_images")
        n_images = int(model_input["n_images"].iloc[0])
        if n_images < 1:
            raise _refusal(f"n_images is {n_images}, expected at least 1")
        temperature = float(options["temperature"])
        if not 0.0 <= temperature < float("inf"):
            raise _refusal(f"temperature is {temperature}, expected at least 0.0")

        generator = torch.Generator().manual_seed(int(options["seed"]))
        n_bits = self._glow.config.n_bits
        pngs: list[str] = []
        with torch.inference_mode(), self._glow.frozen():
            for start in range(0, n_images, BATCH_SIZE):
                n = min(BATCH_SIZE, n_images - start)
                images = self._glow.sample(n, temperature=temperature, generator=generator)
                pngs += map(_png, to_pixels(quantize(images, n_bits), n_bits))
        return pd.DataFrame({"png": pngs})


def _refusal(message: str) -> Exception:
    refusal: Exception = mlflow.MlflowException.invalid_parameter_value(message)
    return refusal


def _png(image: Any) -> str:  # noqa: ANN401 - a tensor (c, h, w), whose package is imported late
    from PIL import Image

    pixels = image.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


mlflow.models.set_model(GlowModel())
