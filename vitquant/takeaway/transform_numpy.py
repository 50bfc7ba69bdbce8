"""A picture as the model takes it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image


def transform(picture: Image.Image, how: Mapping[str, Any]) -> np.ndarray:
    """An RGB picture as (1, 3, size, size) float32: to 0..1, normalized, then resized (bilinear, antialiased).

    how: "mean" and "std" by channel, "image_size" in pixels.
    """
    pixels = np.asarray(picture, dtype=np.float32) / 255
    normalized = (pixels - np.float32(how["mean"])) / np.float32(how["std"])
    size = (how["image_size"], how["image_size"])
    channels = [
        np.asarray(Image.fromarray(normalized[..., c]).resize(size, Image.Resampling.BILINEAR))
        for c in range(3)
    ]
    return np.stack(channels)[None]
