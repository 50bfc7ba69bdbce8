"""Loads the ONNX model: needs onnxruntime, numpy and Pillow.

logits = load(".")(Image.open("picture.jpg"))      # (1000,) float32
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from transform import transform


def load(folder: Path | str) -> Callable[[Image.Image], np.ndarray]:
    """What answers a picture with its 1000 logits; folder: where model.onnx and config.json lie."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(str(Path(folder) / "model.onnx"), providers=["CPUExecutionProvider"])

    def logits_of(picture: Image.Image) -> np.ndarray:
        [logits] = session.run(["logits"], {"images": transform(picture.convert("RGB"), config["transform"])})
        return np.asarray(logits)[0]

    return logits_of
