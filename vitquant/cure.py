"""What is done to a float32 model on its way to int8, beyond the notebook's recipe: plain data, no torch.

A recipe that is calibrated finds one of these for the weights it is given; building the variant from it is then
a matter of arithmetic. (Where the CPU has no room for 8-bit activations they keep to 7; where the engine has no
float16, layers stay in float32.)
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

FORMAT = 1


@dataclass(frozen=True)
class Cure:
    """The steps of one int8 variant, for layers by name; without any, it is the notebook's qint8.

    smooth: by what each channel of a layer's input is divided, (in_features,) float32; the layer's columns are
    multiplied by it, so that the float32 function stays (vitquant/smoothing.py).
    bias: what is added to a layer's bias, (out_features,) float32.
    """

    smooth: Mapping[str, np.ndarray] = field(default_factory=dict)
    bias: Mapping[str, np.ndarray] = field(default_factory=dict)
    per_channel: bool = False  # a scale for each row of a weight, instead of one for all
    full_range: bool = False  # 8 bits for activations where the CPU's kernel adds them up without saturating
    fold_layer_scale: bool = False  # the blocks' layer scales go into the weights before them
    in_float: tuple[str, ...] = ()  # layers left in float16, or in float32 where the engine has no float16

    def to_bytes(self) -> bytes:
        """The same as a file's content; from_bytes reads it."""
        arrays = {
            f"{kind}:{layer}": a for kind in ("smooth", "bias") for layer, a in getattr(self, kind).items()
        }
        plain = {
            "format": FORMAT,
            "per_channel": self.per_channel,
            "full_range": self.full_range,
            "fold_layer_scale": self.fold_layer_scale,
            "in_float": list(self.in_float),
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, plain=np.frombuffer(json.dumps(plain).encode(), np.uint8), **arrays)
        return buffer.getvalue()


def from_bytes(content: bytes) -> Cure:
    """What to_bytes gave. Raises ValueError where it is of another version of vitquant."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        plain = json.loads(stored["plain"].tobytes())
        if plain.pop("format") != FORMAT:
            raise ValueError("a calibration of another version of vitquant")
        arrays: dict[str, dict[str, np.ndarray]] = {"smooth": {}, "bias": {}}
        for name in stored.files:
            kind, _, layer = name.partition(":")
            if kind in arrays:
                arrays[kind][layer] = stored[name]
    return Cure(arrays["smooth"], arrays["bias"], **plain | {"in_float": tuple(plain["in_float"])})
