"""Where the class token looks: its attention to the patches, in every block and head. Imports no torch until a
model is watched.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch

    from vitquant.vit import Classifier


@contextmanager
def watched(model: "Classifier") -> "Iterator[list[torch.Tensor]]":
    """While it lasts, each block that runs appends its class token's attention to all tokens, itself included:
    (N, heads, tokens) float32, each row summing to 1.

    Computed anew from what the block's qkv layer gives, since fused attention keeps no such matrix: softmax of
    the query's products with the keys, by the root of the head's width (timm's Attention.forward).
    """
    found: list[torch.Tensor] = []

    def keep(attn: Any, qkv: "torch.Tensor") -> None:
        found.append(_of_class_token(attn, qkv))

    hooks = [
        block.attn.qkv.register_forward_hook(lambda layer, given, qkv, attn=block.attn: keep(attn, qkv))
        for block in model.blocks
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _of_class_token(attn: Any, qkv: "torch.Tensor") -> "torch.Tensor":
    """(N, heads, tokens), from a qkv layer's output (N, tokens, 3 * heads * head width)."""
    queries, keys, _ = qkv.unflatten(-1, (3, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4)
    query = attn.q_norm(queries)[:, :, :1] * attn.scale
    products = query @ attn.k_norm(keys).transpose(-2, -1)
    return products.float().softmax(dim=-1)[:, :, 0]


def to_patches(found: "Sequence[torch.Tensor]", registers: int, grid: tuple[int, int]) -> np.ndarray:
    """What watched() has found of one picture, cut to its patches: (depth, heads, rows, columns) float32. What
    is missing to 1 goes to the class token itself and the registers. grid: rows and columns of patches."""
    import torch

    return torch.stack([of_block[0, :, 1 + registers :] for of_block in found]).unflatten(-1, grid).numpy()


def drawn(values: np.ndarray, full: float, colour: str, below_zero: str | None = None) -> Image.Image:
    """Values on a grid as a picture, one pixel each: the colour (#rrggbb) of a value, the fuller the larger,
    until `full`; see-through where it is 0, so that it suits a light and a dark page. values: (rows, columns);
    below_zero: the colour of negative ones."""
    strength = np.clip(np.abs(values) / (full or 1.0), 0.0, 1.0)
    pixels = np.zeros((*values.shape, 4), np.uint8)
    pixels[..., :3] = _rgb(colour)
    if below_zero:
        pixels[values < 0, :3] = _rgb(below_zero)
    pixels[..., 3] = np.rint(255 * strength)
    return Image.fromarray(pixels)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return red, green, blue
