"""int8 layers whose activations have 8 bits, where torch's own keep to 7 on x86: needs torch alone.

This file goes along with exports for torch, as it is.
"""

import functools

import torch
from torch.ao.nn.quantized import dynamic


class FullRangeLinear(dynamic.Linear):
    """A dynamically quantized Linear that gives its activations 8 bits (`reduce_range` off).

    For CPUs whose kernel adds the products up without saturating: see saturates().
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        packed = self._packed_params._packed_params
        return torch.ops.quantized.linear_dynamic(x, packed, reduce_range=False)


@functools.cache
def saturates(engine: str) -> bool:
    """Whether the kernel of this engine, which must be the one in use, loses the largest sums of 8-bit
    activations and weights on this CPU, so that activations must keep to 7 bits: tried on one row of the
    largest numbers there are.

    x86 without VNNI adds two products in 16 bits (vpmaddubsw), where 2 x 255 x 127 does not fit.
    """
    weight = torch.quantize_per_tensor(torch.ones(1, 64), 1 / 127, 0, torch.qint8)
    layer = FullRangeLinear(64, 1)
    layer.set_weight_bias(weight, torch.zeros(1))
    with torch.inference_mode():
        return abs(float(layer(torch.ones(1, 64))) - 64.0) > 1.0
