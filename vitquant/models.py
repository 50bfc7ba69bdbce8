"""The float32 models: timm's vision transformer, checkpoints in Torch Hub's form, DINOv2's linear classifier.

Parameters keep the names that the checkpoints give them (timm calls some of them otherwise, drops the mask
token and merges the class slot of the position embedding into the class token), so that every count and
size is that of Torch Hub's model.
"""

import zlib
from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional as F

from vitquant import catalog, checkpoints
from vitquant.catalog import PATCH_SIZE, ModelSpec, Outliers
from vitquant.digests import sha256_of
from vitquant.weights import Weights, digest

CLASSES = 1000
HEAD_BLOCKS = 4
"""How many of the last blocks give the head their class token ("linear4" in the checkpoints' names)."""


class LinearClassifier(nn.Module):
    """A DINOv2 linear classifier: one of Torch Hub's, or a sample.

    Takes (N, 3, H, W) float32 with H and W multiples of 14, gives (N, 1000) float32 logits.
    Raises InputError for another H or W.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        vit: Any = timm.create_model(
            spec.timm_name,
            pretrained=False,
            num_classes=0,
            img_size=spec.pretraining_size,
            dynamic_img_size=True,
            embed_dim=spec.width,
            depth=spec.depth,
            num_heads=spec.heads,
        )
        self.side = spec.pretraining_size // PATCH_SIZE  # of the grid that the position embedding belongs to
        patches = self.side**2
        self.cls_token = nn.Parameter(torch.empty(1, 1, spec.width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + patches, spec.width))
        if spec.registers:
            self.register_tokens = nn.Parameter(torch.empty(1, spec.registers, spec.width))
        # Only pre-training uses it. It is part of the checkpoint and of what Torch Hub's model takes.
        self.mask_token = nn.Parameter(torch.empty(1, spec.width))
        self.patch_embed = vit.patch_embed
        self.blocks = vit.blocks
        self.norm = vit.norm
        self.linear_head = nn.Linear((HEAD_BLOCKS + 1) * spec.width, CLASSES)
        self.registers = spec.registers

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for size in images.shape[-2:]:
            catalog.check_image_size(int(size))
        tokens = self._embed(images)
        class_tokens = []
        for i, block in enumerate(self.blocks):
            tokens = block(tokens)
            if i >= len(self.blocks) - HEAD_BLOCKS:
                class_tokens.append(self.norm(tokens[:, 0]))
        mean_patch_token = self.norm(tokens[:, 1 + self.registers :]).mean(dim=1)
        return self.linear_head(torch.cat([*class_tokens, mean_patch_token], dim=1))

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        """Class token, registers and patches with their positions: (N, 1 + registers + patches, width)."""
        patches = self.patch_embed(images)  # (N, rows, columns, width)
        batch, rows, columns, _ = patches.shape
        class_position, patch_positions = self._positions(rows, columns)
        prefix = [(self.cls_token + class_position).expand(batch, -1, -1)]
        if self.registers:  # they have no position
            prefix.append(self.register_tokens.expand(batch, -1, -1))
        return torch.cat([*prefix, patches.flatten(1, 2) + patch_positions], dim=1)

    def _positions(self, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The position embedding of the class token (1, 1, width) and of a grid (1, rows * columns, width).

        Meta resized the two families differently, and each checkpoint needs its own: with registers, to the
        grid's size and antialiased; without, by a factor that is 0.1 patches too large (once a guard
        against rounding), which shifts the sampling points, and not antialiased.
        """
        class_position, grid = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if (rows, columns) == (self.side, self.side):
            return class_position, grid
        grid = grid.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)
        if self.registers:
            grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
        else:
            factor = ((rows + 0.1) / self.side, (columns + 0.1) / self.side)
            grid = F.interpolate(grid, scale_factor=factor, mode="bicubic")
        return class_position, grid.flatten(2).transpose(1, 2)


def load(weights: Weights) -> LinearClassifier:
    """The model with its weights: float32, in evaluation mode, gradients off.

    Raises InputError, naming file and tensor, where the weights are not there or not this model's.
    """
    spec = catalog.model(weights.model)
    with torch.device("meta"):  # shapes only: no memory taken, no time lost on values soon replaced
        model = LinearClassifier(spec)
    names = {_checkpoint_name(spec, name): name for name, _ in model.named_parameters()}
    shapes = {name: tuple(model.get_parameter(ours).shape) for name, ours in names.items()}
    if weights.source == "bundled":
        digest(weights, sha256_of)  # says what is wrong with a file that is not as it was shipped
    if weights.source == "random":
        tensors = {name: random_tensor(name, shape) for name, shape in shapes.items()}
    else:
        tensors = checkpoints.read(spec, weights.files, shapes)
    model.load_state_dict({names[name]: tensor for name, tensor in tensors.items()}, assign=True)
    model.requires_grad_(False).eval()
    if spec.planted:
        plant(model, spec.planted)
    return model


def plant(model: LinearClassifier, outliers: Outliers) -> None:
    """Give a model outlier channels, in place, without changing what it computes in float32.

    In every LayerNorm the weight and the bias of these channels are multiplied by the factor, and the columns
    of the Linear after it that read them (qkv, fc1; in the head, those of all five segments that share the
    last norm) are divided by it. The factor is a power of two: multiplying and dividing by it is exact, so
    that the float32 logits stay what they were.

    It is the shape of the outlier channels that large vision transformers grow by themselves, as RegCache
    (arXiv 2510.04547) and SmoothQuant (arXiv 2211.10438) describe them. Here they are planted. Dynamic int8
    has one scale for all activations of a layer; it must reach as far as the largest channel, which leaves
    the others few of its levels. The notebook reports the same collapse on the full-size DINOv2; such
    channels are the likely cause there, to be checked on its weights.
    """
    columns = list(outliers.channels)
    width = model.norm.weight.shape[0]
    in_head = [segment * width + column for segment in range(HEAD_BLOCKS + 1) for column in columns]
    pairs = [(block.norm1, block.attn.qkv, columns) for block in model.blocks]
    pairs += [(block.norm2, block.mlp.fc1, columns) for block in model.blocks]
    pairs.append((model.norm, model.linear_head, in_head))
    for norm, linear, read_by in pairs:
        norm.weight[columns] *= outliers.factor
        norm.bias[columns] *= outliers.factor
        linear.weight[:, read_by] /= outliers.factor


def _checkpoint_name(spec: ModelSpec, name: str) -> str:
    """What the checkpoints call this parameter; the head's with the prefix "linear_head."."""
    if spec.gated_mlp:
        return name.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3.")
    return name


def random_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A parameter's random values, float32: they depend on its checkpoint name and shape alone.

    The scales keep every block active and the logits diverse, unlike a fresh initialisation, whose layer
    scales of 1e-5 switch the blocks off. Where the rule changes, so must weights.RANDOM_DIGEST.
    """
    values = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("gamma"):
        return values.mul_(0.05).add_(0.5)
    if "norm" in name and name.endswith("weight"):
        return values.mul_(0.1).add_(1.0)
    if name in ("pos_embed", "cls_token", "register_tokens"):
        return values.mul_(0.5)
    return values.mul_(0.04)
