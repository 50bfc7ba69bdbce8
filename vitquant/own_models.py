"""A model of one's own: what its files hold, and putting it among the models or taking it away.

look_at and add read whole checkpoints with torch, which takes seconds and memory: for the command line or a
worker's process, never for the server's.
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vitquant import catalog, first_use, paths, registry
from vitquant.catalog import ModelSpec
from vitquant.errors import InputError

if TYPE_CHECKING:
    from vitquant.checkpoints import Held

HEAD = ("linear_head.weight", "linear_head.bias")

REGISTERED = ("name", "removed_at")
"""The fields of a ModelSpec that the registry keeps by itself."""


@dataclass(frozen=True)
class Found:
    """What model some files hold. Its spec has no name yet."""

    spec: ModelSpec

    @property
    def summary(self) -> str:
        """For people: "DINOv2 ViT-S/14, linear classifier: 24.0 million numbers, stored as float32"."""
        spec = self.spec
        return f"{spec.title}: {spec.parameters / 1e6:,.1f} million numbers, stored as {spec.stored_as}"


def look_at(files: Sequence[Path], timm_name: str | None = None) -> Found:
    """What model these files hold, every tensor of theirs checked. One of timm's without a head of ImageNet's
    classes is a backbone alone.

    files: a backbone and its head in either order, or one file with the whole model. timm_name: which of timm's
    ViTs it is, as timm.create_model takes it; None: one of DINOv2's, which shows in the shapes. Imports torch.
    Raises InputError where a file cannot be read or used, could run code, or does not hold a whole model that
    can be served.
    """
    from vitquant import checkpoints, models

    if not files:
        raise InputError("No file is named: name the files that hold the model's weights.")
    held = checkpoints.gather([paths.as_said(file) for file in files])
    spec = _timm(held, timm_name) if timm_name else _dinov2(held)
    shapes = models.checkpoint_shapes(spec)
    if not spec.has_head:
        held, shapes = checkpoints.without_head(held), checkpoints.without_head(shapes)
    checkpoints.check(held, shapes, spec.title)
    return Found(spec)


def add(
    name: str,
    files: Sequence[Path],
    *,
    title: str | None = None,
    trained_on: str | None = None,
    timm_name: str | None = None,
) -> ModelSpec:
    """Register a model under a name, once everything about it has been checked (look_at). Its files stay where
    they are.

    title: for people, otherwise what look_at finds; trained_on: the dataset that its head was trained on here;
    timm_name: as look_at takes it.
    Imports torch. Raises InputError where the name cannot be had, and as look_at does.
    """
    catalog.check_new_name(registry.MODELS, name)  # before checkpoints are read
    found = look_at(files, timm_name).spec
    spec = replace(found, name=name, title=title or found.title, trained_on=trained_on)
    fields = {field: value for field, value in asdict(spec).items() if field not in REGISTERED}
    registry.add(registry.MODELS, name, {"spec": fields})
    return spec


def remove(name: str) -> None:
    """Take a model of one's own away; what was measured of it stays. Its files stay too, but for those that
    vitquant made (below data/own/models): these are deleted. Raises InputError where there is none."""
    spec = catalog.models(backbones=True).get(name)
    registry.remove(registry.MODELS, name)
    first_use.forget(*(spec.files if spec else ()))
    made_here = registry.folder(registry.MODELS).resolve()
    for file in spec.files if spec else ():
        if Path(file).resolve().is_relative_to(made_here):
            with contextlib.suppress(OSError):
                Path(file).unlink()


def _dinov2(held: "Held") -> ModelSpec:
    """Which of Torch Hub's linear classifiers the files hold, by the shapes of their tensors."""
    shapes, files = _shapes(held), _files(held)
    _check_backbone(files, shapes)
    if "mask_token" not in shapes:
        raise InputError(
            f"{files} is no DINOv2 backbone of Torch Hub's. If it is one of timm's ViTs, say which (in the "
            "terminal: --timm vit_base_patch16_224)."
        )
    width, registers = shapes["cls_token"][-1], shapes.get("register_tokens", (1, 0, 0))[1]
    depth = len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})
    like = next(
        (
            spec
            for spec in catalog.MODELS.values()
            if not spec.planted and (spec.width, spec.depth, spec.registers) == (width, depth, registers)
        ),
        None,
    )
    if like is None:
        raise InputError(
            f"{files} is no DINOv2 backbone that vitquant knows: it has {depth} blocks of width {width} and "
            f"{registers} register tokens. {_DINOV2S} are known."
        )
    _check_head(files, shapes.get(HEAD[0]), like)
    return replace(like, name="", home="own", files=_in_order(held), stored_as=_stored_as(held))


def _timm(held: "Held", timm_name: str) -> ModelSpec:
    """One of timm's ViTs, with the image size that the position embedding in the files belongs to."""
    from vitquant import models, timm_models

    like = timm_models.look_up(timm_name)
    shapes, files = _shapes(held), _files(held)
    _check_backbone(files, shapes)
    positions = shapes.get("pos_embed", (1, 0, 0))[1] - like.has_prefix_positions * (1 + like.registers)
    is_square = positions > 0 and math.isqrt(positions) ** 2 == positions
    spec = ModelSpec(
        name="",
        title=f"timm's {timm_name}",
        home="own",
        family="timm",
        timm_name=timm_name,
        hub_base="",
        hub_full="",
        width=like.width,
        depth=like.depth,
        heads=like.heads,
        registers=like.registers,
        backbone_parameters=0,
        head_parameters=0,
        patch_size=like.patch_size,
        pretraining_size=math.isqrt(positions) * like.patch_size if is_square else like.image_size,
        mean=like.mean,
        std=like.std,
        files=_in_order(held),
        stored_as=_stored_as(held),
        has_head=shapes.get(HEAD[0], (0,))[0] == 1000,
    )
    counts = {name: math.prod(shape) for name, shape in models.checkpoint_shapes(spec).items()}
    of_head = sum(counts[name] for name in HEAD)
    of_backbone = sum(counts.values()) - of_head
    return replace(spec, backbone_parameters=of_backbone, head_parameters=of_head if spec.has_head else 0)


def _shapes(held: "Held") -> dict[str, tuple[int, ...]]:
    return {name: tuple(getattr(stored.tensor, "shape", ())) for name, stored in held.items()}


def _files(held: "Held") -> str:
    """The files, for people."""
    return " and ".join(dict.fromkeys(str(stored.file) for stored in held.values()))


def _in_order(held: "Held") -> tuple[str, ...]:
    """The paths of the files: the backbone's first, one that holds both once."""
    return tuple(dict.fromkeys(str(held[name].file) for name in ("cls_token", HEAD[0]) if name in held))


def _check_backbone(files: str, shapes: dict[str, tuple[int, ...]]) -> None:
    """InputError unless a vision transformer's backbone is among the tensors."""
    if set(shapes) <= set(HEAD):
        raise InputError(f"{files} holds a head alone: name the backbone's checkpoint beside it.")
    if "cls_token" not in shapes or "blocks.0.attn.qkv.weight" not in shapes:
        raise InputError(
            f"{files} is no DINOv2 backbone and none of timm's ViTs: what can be served is a DINOv2 linear "
            "classifier of Torch Hub's, or a VisionTransformer of timm's."
        )


_DINOV2S = "ViT-S, B, L and g with 14-pixel patches, without registers or with 4,"


def _check_head(files: str, shape: tuple[int, ...] | None, like: ModelSpec) -> None:
    """InputError unless a linear classifier's head of ImageNet's classes goes with the backbone."""
    width = like.width
    if shape is None:
        raise InputError(
            f"{files} is a DINOv2 backbone without a head, and a backbone alone names no classes: name its "
            "linear4 head beside it, or train one with `python -m vitquant head train NAME --model "
            f"{like.name} --backbone FILE --dataset D`."
        )
    if shape == (1000, 2 * width):
        raise InputError(
            f"The head beside {files} reads one block (linear1): take the one that reads four "
            f"({like.head_file})."
        )
    if len(shape) == 2 and shape[1] == 5 * width and shape[0] != 1000:
        raise InputError(f"The head in {files} has {shape[0]:,} classes: only ImageNet's 1000 can be served.")


def _stored_as(held: "Held") -> str:
    """The type of the numbers in the files: the one that most of them have."""
    counts: dict[str, int] = {}
    for stored in held.values():
        dtype = str(getattr(stored.tensor, "dtype", "")).removeprefix("torch.")
        counts[dtype] = counts.get(dtype, 0) + getattr(stored.tensor, "numel", int)()
    return max(counts, key=lambda dtype: counts[dtype])
