"""DINOv2's linear classifier, by itself: needs torch and timm, and nothing of vitquant.

The vision transformer is timm's. Parameters keep the names that Torch Hub's checkpoints give them (timm calls
some of them otherwise, drops the mask token and merges the class slot of the position embedding into the class
token), so that every count and size is that of Torch Hub's model.

This file goes along with every exported state dict, as it is.
"""

from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional as F

CLASSES = 1000
PATCH_SIZE = 14
HEAD_BLOCKS = 4
"""How many of the last blocks give the head their class token ("linear4" in the checkpoints' names)."""


class Divide(nn.Module):
    """Divides every channel by a number of its own; stands before an MLP's fc2, where timm leaves room."""

    factor: torch.Tensor

    def __init__(self, divisor: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", 1 / divisor)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.factor


class LinearClassifier(nn.Module):
    """A DINOv2 linear classifier: one of Torch Hub's, or a sample.

    Takes (N, 3, H, W) float32 with H and W multiples of 14, gives (N, 1000) float32 logits, whatever the type
    of its own numbers. Raises ValueError for another H or W.

    timm_name: the vision transformer's form; width, depth, heads: of it; registers: how many register tokens;
    pretraining_size: the image size in pixels that the position embedding belongs to.
    """

    def __init__(
        self, *, timm_name: str, width: int, depth: int, heads: int, registers: int, pretraining_size: int
    ) -> None:
        super().__init__()
        vit: Any = timm.create_model(
            timm_name,
            pretrained=False,
            num_classes=0,
            img_size=pretraining_size,
            dynamic_img_size=True,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
        )
        self.side = pretraining_size // PATCH_SIZE  # of the grid that the position embedding belongs to
        patches = self.side**2
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + patches, width))
        if registers:
            self.register_tokens = nn.Parameter(torch.empty(1, registers, width))
        # Only pre-training uses it. It is part of the checkpoint and of what Torch Hub's model takes.
        self.mask_token = nn.Parameter(torch.empty(1, width))
        self.patch_embed = vit.patch_embed
        self.blocks = vit.blocks
        self.norm = vit.norm
        self.linear_head = nn.Linear((HEAD_BLOCKS + 1) * width, CLASSES)
        self.registers = registers

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[-2] % PATCH_SIZE or images.shape[-1] % PATCH_SIZE:
            raise ValueError(f"Images of {tuple(images.shape[-2:])} do not fit patches of {PATCH_SIZE} pixels.")
        tokens = self.embed(images)
        last = []
        for i, block in enumerate(self.blocks):
            tokens = block(tokens)
            if i >= len(self.blocks) - HEAD_BLOCKS:
                last.append(tokens)
        return self.answer(last)

    def answer(self, last: list[torch.Tensor]) -> torch.Tensor:
        """The logits (N, 1000), from what the last HEAD_BLOCKS blocks give (N, tokens, width), in order."""
        class_tokens = [self.norm(tokens[:, 0]) for tokens in last]
        mean_patch_token = self.norm(last[-1][:, 1 + self.registers :]).mean(dim=1)
        return self.linear_head(torch.cat([*class_tokens, mean_patch_token], dim=1)).float()

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Class token, registers and patches with their positions: (N, 1 + registers + patches, width)."""
        patches = self.patch_embed(images.to(self.cls_token.dtype))  # (N, rows, columns, width)
        batch, rows, columns, _ = patches.shape
        class_position, patch_positions = self.positions(rows, columns)
        prefix = [(self.cls_token + class_position).expand(batch, -1, -1)]
        if self.registers:  # they have no position
            prefix.append(self.register_tokens.expand(batch, -1, -1))
        return torch.cat([*prefix, patches.flatten(1, 2) + patch_positions], dim=1)

    def positions(self, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The position embedding of the class token (1, 1, width) and of a grid (1, rows * columns, width).

        Meta resized the two families differently, and each checkpoint needs its own: with registers, to the
        grid's size and antialiased; without, by a factor that is 0.1 patches too large (once a guard
        against rounding), which shifts the sampling points, and not antialiased.
        """
        class_position, grid = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if (rows, columns) == (self.side, self.side):
            return class_position, grid
        grid = (
            grid.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2).float()
        )  # torch resizes no bfloat16
        if self.registers:
            grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
        else:
            factor = ((rows + 0.1) / self.side, (columns + 0.1) / self.side)
            grid = F.interpolate(grid, scale_factor=factor, mode="bicubic")
        return class_position, grid.flatten(2).transpose(1, 2).to(class_position.dtype)
