"""A picture as the model takes it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F


def transform(picture: Image.Image, how: Mapping[str, Any]) -> torch.Tensor:
    """An RGB picture as (1, 3, size, size) float32: to 0..1, normalized, then resized (bilinear, antialiased).

    how: "mean" and "std" by channel, "image_size" in pixels.
    """
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)
    mean, std = (torch.tensor(how[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    size = (how["image_size"], how["image_size"])
    return F.interpolate(((pixels - mean) / std)[None], size=size, mode="bilinear", antialias=True)
