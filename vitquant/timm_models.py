"""Which of timm's models can be served, and what they are like. Looking at one builds it without memory, which
takes torch, timm and a fraction of a second."""

import difflib
from dataclasses import dataclass
from typing import Any

from vitquant.errors import InputError


@dataclass(frozen=True)
class TimmModel:
    """One of timm's VisionTransformers, by a name that timm.create_model takes."""

    name: str
    width: int
    depth: int
    heads: int
    registers: int
    patch_size: int  # in pixels
    image_size: int  # in pixels, that its position embedding belongs to
    has_prefix_positions: bool  # whether class token and registers have a position, too
    mean: tuple[float, ...]  # how its pictures were normalised
    std: tuple[float, ...]


def look_up(name: str) -> TimmModel:
    """What timm's model of that name is like: "vit_tiny_patch16_224", or with the tag of some weights of it,
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k". Nothing is downloaded.

    Raises InputError, with the nearest names, where timm has none of that name, and with the reason where it is
    one that cannot be served.
    """
    import timm
    import torch

    from vitquant import vit

    architecture = name.partition(".")[0]
    if "/" in name or "\\" in name or ":" in name or not timm.is_model(architecture):
        known = timm.list_models(module="vision_transformer")
        near = difflib.get_close_matches(architecture, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "vit_tiny_patch16_224 is one, for example."
        raise InputError(f"timm has no model called {name!r}: {hint}")
    if "." in name and name not in timm.list_pretrained(f"{architecture}.*"):
        tags = ", ".join(tag.partition(".")[2] for tag in timm.list_pretrained(f"{architecture}.*"))
        raise InputError(
            f"timm knows no weights {name.partition('.')[2]!r} of {architecture}: "
            + (f"there are {tags}." if tags else f"leave it at {architecture}.")
        )
    try:
        with torch.device("meta"):
            model = vit.create(name)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:  # other families take other things
        raise InputError(_refusal(name, "it is not one of timm's VisionTransformers")) from error
    if wrong := _whats_wrong_with(model):
        raise InputError(_refusal(name, wrong))
    side = model.patch_embed.grid_size[0]
    return TimmModel(
        name=name,
        width=model.embed_dim,
        depth=len(model.blocks),
        heads=model.blocks[0].attn.num_heads,
        registers=model.num_reg_tokens,
        patch_size=model.patch_embed.patch_size[0],
        image_size=model.patch_embed.img_size[0],
        has_prefix_positions=model.pos_embed.shape[1] != side**2,
        mean=tuple(model.pretrained_cfg["mean"]),
        std=tuple(model.pretrained_cfg["std"]),
    )


def _refusal(name: str, wrong: str) -> str:
    return (
        f"{name} cannot be served: {wrong}. What can be is a VisionTransformer of timm's with a class token, "
        "learned positions and its usual blocks, such as vit_base_patch16_224, deit_small_patch16_224 or "
        "deit3_base_patch16_224."
    )


def _whats_wrong_with(model: Any) -> str | None:
    """Why a model of timm's has not the form of vit.TimmViT, whose layers every recipe and diagnosis knows;
    None where it has."""
    from timm.layers import GluMlp, Mlp, PatchEmbed
    from timm.models.vision_transformer import Attention, Block, VisionTransformer
    from torch import nn

    if type(model) is not VisionTransformer:
        return f"it is a {type(model).__name__}, not one of timm's VisionTransformers"
    if type(model.patch_embed) is not PatchEmbed:
        return f"its patches come from a {type(model.patch_embed).__name__}"
    if len(set(model.patch_embed.patch_size)) > 1 or len(set(model.patch_embed.img_size)) > 1:
        return "its patches or pictures are no squares"
    if model.cls_token is None:
        return "it has no class token"
    if model.pos_embed is None:
        return "its positions are not learned"
    if model.global_pool not in ("token", "avg") or model.attn_pool is not None:
        return f"its tokens are pooled in another way ({model.global_pool})"
    if isinstance(model.norm, nn.Identity) and isinstance(model.fc_norm, nn.Identity):
        return "nothing normalises what its head reads"
    for block in model.blocks:
        if type(block) is not Block:
            return f"its blocks are {type(block).__name__}s"
        if type(block.attn) is not Attention or not isinstance(block.attn.norm, nn.Identity):
            return "its attention has another form"
        is_known = type(block.mlp) is Mlp or (type(block.mlp) is GluMlp and not block.mlp.gate_last)
        if not is_known or not isinstance(block.mlp.norm, nn.Identity):
            return "its MLPs have another form"
    return None
