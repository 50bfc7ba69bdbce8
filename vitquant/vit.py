"""Vision transformers with a linear classifier, by themselves: needs torch and timm, and nothing of vitquant.

Two families: DINOv2's linear classifiers (DinoV2) and timm's own ViTs (TimmViT). Both have timm's blocks; what
is around them is written out, so that a model can be walked through block by block and its position embedding
resized beforehand.

This file goes along with every exported state dict, as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional as F

CLASSES = 1000
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Divide(nn.Module):
    """Divides every channel by a number of its own; stands before an MLP's fc2, where timm leaves room."""

    factor: torch.Tensor

    def __init__(self, divisor: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", 1 / divisor)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.factor


class Classifier(nn.Module):
    """A vision transformer that ends in a Linear layer, linear_head.

    Takes (N, 3, H, W) float32, normalised with ImageNet's mean and standard deviation, with H and W multiples
    of patch_size; gives (N, 1000) float32 logits, whatever the type of its own numbers. Raises ValueError for
    another H or W.
    """

    patch_size: int
    side: int  # of the grid of patches that the position embedding belongs to
    registers: int  # tokens between the class token and the patches
    head_blocks: int  # how many of the last blocks the head reads
    cls_token: nn.Parameter
    pos_embed: nn.Parameter
    blocks: Any  # nn.Sequential of timm's Block
    linear_head: nn.Linear

    @property
    def head_norm(self) -> Any:
        """The LayerNorm (or RMSNorm) whose outputs the head reads."""
        raise NotImplementedError

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Class token, registers and patches with their positions: (N, 1 + registers + patches, width)."""
        raise NotImplementedError

    def positions(self, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The position embedding of the tokens before the patches, (1, as many as have one, width), and of a
        grid of patches, (1, rows * columns, width)."""
        raise NotImplementedError

    def answer(self, last: list[torch.Tensor]) -> torch.Tensor:
        """The logits (N, 1000), from what the last head_blocks blocks give (N, tokens, width), in order."""
        raise NotImplementedError

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[-2] % self.patch_size or images.shape[-1] % self.patch_size:
            raise ValueError(
                f"Images of {tuple(images.shape[-2:])} do not fit patches of {self.patch_size} pixels."
            )
        tokens = self.embed(images)
        last = []
        for i, block in enumerate(self.blocks):
            tokens = block(tokens)
            if i >= len(self.blocks) - self.head_blocks:
                last.append(tokens)
        return self.answer(last)

    def _grid(self) -> torch.Tensor:
        """The patches' part of the position embedding as a picture: (1, width, side, side) float32."""
        grid = self.pos_embed[:, -(self.side**2) :]
        # torch resizes no bfloat16
        return grid.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2).float()


class DinoV2(Classifier):
    """A DINOv2 linear classifier: one of Torch Hub's, or a sample. Its head reads the class tokens of the last
    four blocks, and the mean of the last one's patches.

    Parameters keep the names that Torch Hub's checkpoints give them (timm calls some of them otherwise, drops
    the mask token and merges the class slot of the position embedding into the class token), so that every
    count and size is that of Torch Hub's model.

    timm_name: the vision transformer's form; width, depth, heads: of it; registers: how many register tokens;
    pretraining_size: the image size in pixels that the position embedding belongs to.
    """

    patch_size = 14
    head_blocks = 4  # "linear4" in the checkpoints' names

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
        self.side = pretraining_size // self.patch_size
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
        self.linear_head = nn.Linear((self.head_blocks + 1) * width, CLASSES)
        self.registers = registers

    @property
    def head_norm(self) -> Any:
        return self.norm

    def answer(self, last: list[torch.Tensor]) -> torch.Tensor:
        class_tokens = [self.norm(tokens[:, 0]) for tokens in last]
        mean_patch_token = self.norm(last[-1][:, 1 + self.registers :]).mean(dim=1)
        return self.linear_head(torch.cat([*class_tokens, mean_patch_token], dim=1)).float()

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embed(images.to(self.cls_token.dtype))  # (N, rows, columns, width)
        batch, rows, columns, _ = patches.shape
        class_position, patch_positions = self.positions(rows, columns)
        prefix = [(self.cls_token + class_position).expand(batch, -1, -1)]
        if self.registers:  # they have no position
            prefix.append(self.register_tokens.expand(batch, -1, -1))
        return torch.cat([*prefix, patches.flatten(1, 2) + patch_positions], dim=1)

    def positions(self, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the class token and of a grid.

        Meta resized the two families differently, and each checkpoint needs its own: with registers, to the
        grid's size and antialiased; without, by a factor that is 0.1 patches too large (once a guard
        against rounding), which shifts the sampling points, and not antialiased.
        """
        class_position, grid = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if (rows, columns) == (self.side, self.side):
            return class_position, grid
        if self.registers:
            grid = F.interpolate(self._grid(), size=(rows, columns), mode="bicubic", antialias=True)
        else:
            factor = ((rows + 0.1) / self.side, (columns + 0.1) / self.side)
            grid = F.interpolate(self._grid(), scale_factor=factor, mode="bicubic")
        return class_position, grid.flatten(2).transpose(1, 2).to(class_position.dtype)


class TimmViT(Classifier):
    """One of timm's own VisionTransformers (timm/models/vision_transformer.py) with its linear head. Computes
    what timm's module does with dynamic_img_size; its parameters have timm's names, but for the head, which is
    linear_head here as in the other family.

    timm_name: as timm.create_model takes it; pretraining_size: the image size in pixels that the position
    embedding belongs to; mean, std: how its pictures were normalised when it was trained.
    """

    head_blocks = 1

    def __init__(
        self, *, timm_name: str, pretraining_size: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        vit = create(timm_name, pretraining_size)
        self.patch_size = int(vit.patch_embed.patch_size[0])
        self.side = pretraining_size // self.patch_size
        self.registers = vit.num_reg_tokens
        self.cls_token, self.pos_embed = vit.cls_token, vit.pos_embed
        if self.registers:
            self.reg_token = vit.reg_token
        self.patch_embed = vit.patch_embed
        self.norm_pre = vit.norm_pre
        self.blocks = vit.blocks
        self.norm, self.fc_norm = vit.norm, vit.fc_norm  # before and after pooling; one of them does nothing
        self.linear_head = vit.head
        self._pools_class_token = vit.global_pool == "token"
        self._pools_from = 0 if vit.pool_include_prefix else 1 + self.registers
        # Pictures come as ImageNet's; x * scale + shift makes of them what the model was trained on.
        self._scale = [ours / its for ours, its in zip(IMAGENET_STD, std, strict=True)]
        self._shift = [(ours - its) / by for ours, its, by in zip(IMAGENET_MEAN, mean, std, strict=True)]
        self._is_imagenets = tuple(mean) == IMAGENET_MEAN and tuple(std) == IMAGENET_STD

    @property
    def head_norm(self) -> Any:
        return self.norm if isinstance(self.fc_norm, nn.Identity) else self.fc_norm

    def answer(self, last: list[torch.Tensor]) -> torch.Tensor:
        tokens = last[-1]
        if self._pools_class_token:
            pooled = self.norm(tokens[:, 0])
        else:
            pooled = self.norm(tokens[:, self._pools_from :]).mean(dim=1)
        return self.linear_head(self.fc_norm(pooled)).float()

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        if not self._is_imagenets:
            scale, shift = (images.new_tensor(of).view(3, 1, 1) for of in (self._scale, self._shift))
            images = images * scale + shift
        patches = self.patch_embed(images.to(self.cls_token.dtype))  # (N, rows, columns, width)
        batch, rows, columns, _ = patches.shape
        prefix = torch.cat([self.cls_token, self.reg_token], dim=1) if self.registers else self.cls_token
        of_prefix, of_patches = self.positions(rows, columns)
        if of_prefix.shape[1]:
            prefix = prefix + of_prefix
        tokens = torch.cat([prefix.expand(batch, -1, -1), patches.flatten(1, 2) + of_patches], dim=1)
        return self.norm_pre(tokens)

    def positions(self, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the class token and the registers, where they have any, and of a grid; resized as timm does it."""
        patches = self.side**2
        prefix, grid = self.pos_embed[:, :-patches], self.pos_embed[:, -patches:]
        if (rows, columns) == (self.side, self.side):
            return prefix, grid
        grid = F.interpolate(self._grid(), size=(rows, columns), mode="bicubic", antialias=True)
        return prefix, grid.flatten(2).transpose(1, 2).to(prefix.dtype)


def create(timm_name: str, image_size: int | None = None) -> Any:
    """timm's own VisionTransformer of that name with a head of 1000 classes, nothing downloaded, for any size
    of picture. image_size: in pixels, that its position embedding belongs to; None: the name's usual one.

    Raises what timm does where the name is not one of its VisionTransformers'.
    """
    size: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
    return timm.create_model(
        timm_name,
        pretrained=False,
        num_classes=CLASSES,
        dynamic_img_size=True,
        weight_init="skip",  # numbers come from somewhere else
        **size,
    )


def build(architecture: Mapping[str, Any]) -> Classifier:
    """The model of an architecture in plain data ("family", and what its class takes). Its numbers are not
    set."""
    values = dict(architecture)
    family: type[Classifier] = {"dinov2": DinoV2, "timm": TimmViT}[values.pop("family")]
    return family(**values)
