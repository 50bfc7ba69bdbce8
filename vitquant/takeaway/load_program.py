"""Loads the program: needs torch, numpy and Pillow.

logits = load(".")(Image.open("picture.jpg"))      # (1000,) float32
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from full_range import saturates
from PIL import Image
from transform import transform


def load(folder: Path | str) -> Callable[[Image.Image], np.ndarray]:
    """What answers a picture with its 1000 logits; folder: where model.pt and config.json lie."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    if config["engine"] in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = config["engine"]
    if config.get("full_range", False) and saturates(torch.backends.quantized.engine):
        raise RuntimeError(
            "This program gives activations 8 bits, which overflow the sums of this CPU (it has no VNNI), so "
            "that its answers would be wrong. Export the variant as a state dict, which keeps to 7 bits here, "
            "or export it on a machine like this one."
        )
    # torch announces the end of TorchScript, which it still loads.
    warnings.filterwarnings("ignore", r".*torch\.jit\.\w+` is deprecated", FutureWarning)
    model = torch.jit.load(Path(folder) / "model.pt").eval()

    def logits_of(picture: Image.Image) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(model(transform(picture.convert("RGB"), config["transform"]))[0])

    return logits_of
