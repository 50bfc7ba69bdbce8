"""Trains the sample's model on freshly drawn pictures, and writes it as the repository ships it.

A vision transformer in DINOv2's form, from a random start, with Muon for the blocks' matrices and AdamW for
the rest (torch.optim has both). Every minute the whole state is saved: the same command goes on from there.
"""

import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from tools.sample.thing import MAKERS
from vitquant import catalog, labels, models, sample
from vitquant.predict import IMAGENET_MEAN, IMAGENET_STD

EDGE = 64
BATCH = 256
MUON_RATE = 0.012
ADAM_RATE = 2e-3
WEIGHT_DECAY = 0.05
WARM_UP = 0.04  # share of the steps
LAYER_SCALE = 0.3
SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class Pictures:
    """All pictures of a folder in memory."""

    pixels: torch.Tensor  # (N, 3, 64, 64) uint8
    classes: torch.Tensor  # (N,) int64, of ImageNet's 1000


def read(folder: Path) -> Pictures:
    """Every picture below a folder of class folders."""
    pixels, classes = [], []
    for wnid in sorted(MAKERS):
        index = labels.by_wnid(wnid).index
        for file in sorted((folder / wnid).glob("*.JPEG")):
            with Image.open(file) as opened:
                pixels.append(np.asarray(opened))
            classes.append(index)
    if not pixels:
        raise SystemExit(f"{folder} has no pictures: draw some first (python -m tools.sample pictures).")
    return Pictures(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(), torch.tensor(classes))


def train(fresh: Pictures, held_out: Pictures, epochs: int, state_file: Path, log_file: Path) -> nn.Module:
    """The trained model. Goes on from state_file where there is one.

    held_out: pictures to follow the accuracy on; nothing is chosen by them.
    """
    torch.manual_seed(0)
    model = initialised()
    optimizers, schedule = _optimizers(model, steps := epochs * (len(fresh.classes) // BATCH))
    done, seconds = 0, 0.0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        done, seconds = state["step"], state["seconds"]
    began = saved_at = time.perf_counter()
    for step, (inputs, classes) in enumerate(_batches(fresh, done, steps), done + 1):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * schedule(step)
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(inputs).float(), classes, label_smoothing=0.03)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        now = time.perf_counter()
        if step % 200 == 0 or step == steps:
            top1, top5 = accuracy(model, held_out)
            line = {
                "step": step,
                "of": steps,
                "loss": round(loss.item(), 3),
                "held_out_top1": round(top1, 4),
                "held_out_top5": round(top5, 4),
                "seconds": round(seconds + now - began),
            }
            with log_file.open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(line, flush=True)
        if now - saved_at > SAVE_EVERY_S or step == steps:
            state = {
                "model": model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "step": step,
                "seconds": seconds + now - began,
            }
            torch.save(state, partial := state_file.with_suffix(".partial"))
            os.replace(partial, state_file)
            saved_at = now
    return model.eval()


def initialised() -> nn.Module:
    """The sample's model before training."""
    spec = catalog.model("sample")
    model = models.new(spec)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, LAYER_SCALE)
        elif "norm" in name:
            nn.init.constant_(parameter, 1.0 if name.endswith("weight") else 0.0)
        elif name.endswith("bias") or name == "mask_token":
            nn.init.zeros_(parameter)
        else:
            nn.init.trunc_normal_(parameter, std=0.02)
    model.mask_token.requires_grad_(False)  # only pre-training with masks would use it
    return model.train()


def _optimizers(model: nn.Module, steps: int) -> tuple[list[torch.optim.Optimizer], "Schedule"]:
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = [p for name, p in trained.items() if name.startswith("blocks.") and p.ndim == 2]
    others = [p for name, p in trained.items() if not (name.startswith("blocks.") and p.ndim == 2)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=WEIGHT_DECAY),
        torch.optim.AdamW(others, lr=ADAM_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98)),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers, Schedule(steps)


@dataclass(frozen=True)
class Schedule:
    """The share of the learning rate at a step: a linear warm-up, then a half cosine down to nothing."""

    steps: int

    def __call__(self, step: int) -> float:
        warm_up = max(1, round(WARM_UP * self.steps))
        if step < warm_up:
            return step / warm_up
        return 0.5 + 0.5 * math.cos(math.pi * (step - warm_up) / max(1, self.steps - warm_up))


def _batches(pictures: Pictures, first: int, steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches from step number first on: (inputs, classes). Each depends on its number alone."""
    n = len(pictures.classes)
    in_epoch = n // BATCH
    for step in range(first, steps):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(step // in_epoch))
        chosen = order[step % in_epoch * BATCH :][:BATCH]
        noise = torch.Generator().manual_seed(1_000_000 + step)
        yield normalised(altered(pictures.pixels[chosen], noise)), pictures.classes[chosen]


def altered(pixels: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    """Pictures (N, 3, 64, 64) mirrored, shifted by up to 6 pixels and with other colours: float32, 0..1."""
    n = len(pixels)
    images = pixels.float().div_(255)
    flip = torch.rand(n, 1, 1, 1, generator=noise) < 0.5
    images = torch.where(flip, images.flip(3), images)
    reach = 6
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    shifts = torch.randint(0, 2 * reach + 1, (n, 2), generator=noise)
    rows = shifts[:, 0, None] + torch.arange(EDGE)
    columns = shifts[:, 1, None] + torch.arange(EDGE)
    images = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )
    grey = images.mean(dim=1, keepdim=True)
    saturation = 0.7 + 0.6 * torch.rand(n, 1, 1, 1, generator=noise)
    gain = 0.75 + 0.5 * torch.rand(n, 1, 1, 1, generator=noise)
    tint = 0.93 + 0.14 * torch.rand(n, 3, 1, 1, generator=noise)
    return ((grey + (images - grey) * saturation) * gain * tint).clamp_(0, 1)


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Pictures (N, 3, 64, 64), 0..1, as the model takes them: (N, 3, 70, 70)."""
    mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
    std = torch.tensor(IMAGENET_STD)[:, None, None]
    return F.interpolate((images - mean) / std, size=(70, 70), mode="bilinear", antialias=True)


@torch.no_grad()
def accuracy(model: nn.Module, pictures: Pictures) -> tuple[float, float]:
    """Top-1 and top-5, 0..1."""
    was_training = model.training
    model.eval()
    right = torch.zeros(2)
    for begin in range(0, len(pictures.classes), BATCH):
        inputs = normalised(pictures.pixels[begin : begin + BATCH].float() / 255)
        top = model(inputs).topk(5).indices == pictures.classes[begin : begin + BATCH, None]
        right += torch.tensor([top[:, :1].any(1).sum(), top.any(1).sum()])
    model.train(was_training)
    top1, top5 = (right / len(pictures.classes)).tolist()
    return top1, top5


def export(model: nn.Module, folder: Path) -> None:
    """Write the model as the two checkpoints that vitquant loads, their numbers in float16."""
    spec = catalog.model("sample")
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().to(torch.float16).clone() for name, value in model.state_dict().items()}
    head = {
        name.removeprefix("linear_head."): v for name, v in state.items() if name.startswith("linear_head.")
    }
    backbone = {name: v for name, v in state.items() if not name.startswith("linear_head.")}
    torch.save(backbone, folder / spec.backbone_file)
    torch.save(head, folder / spec.head_file)
    sample.write_sums(folder.parent)
