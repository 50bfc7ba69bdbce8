"""Trains a head: multinomial logistic regression on what a frozen backbone makes of pictures.

The strength of its regularisation is the one with the lowest cross-entropy on training pictures that are held
out (which of two has more of so few right is mostly luck); then the head is trained on all. It has the form of
Torch Hub's linear4 heads, or of a timm ViT's, so that with its backbone it is a model like any other.
"""

import functools
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from scipy.special import log_softmax
from torch import nn

from vitquant import catalog, composed, features, heads, models, predictions, registry, room, statistics, whole
from vitquant.datasets import Example
from vitquant.digests import sha256_of
from vitquant.errors import InputError, VitquantError
from vitquant.heads import Backbone, Pictures
from vitquant.measurements import HeadRequest
from vitquant.request import Journal
from vitquant.runs import Rows
from vitquant.vit import CLASSES, Classifier
from vitquant.weights import Weights

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""What half the sum of the squared weights of standardised features is multiplied by, beside the mean
cross-entropy."""

MOST_ITERATIONS = 300

ROWS = 2048
"""Pictures whose logits one core holds at a time."""

LEAST_SPREAD = 0.05
"""A feature that hardly varies counts as if it had this share of the median feature's standard deviation: its
weights would be so large that int8, with one scale for all of them, had few levels left for the others."""

MARGIN = 32.0
"""How far the logits of the classes that a head does not know lie below: see Head.expanded."""

AddModel = Callable[..., Any]
"""own_models.add: takes the name, the files, and title, trained_on and timm_name by name."""
AddView = Callable[..., Any]
"""own_pictures.add_view: takes the name, the dataset, its pictures and the title."""


@dataclass(frozen=True)
class Head:
    """A linear classifier of some classes: logits = features @ weight.T + bias. Features are what a head reads:
    so many segments (ModelSpec.head_segments) of the backbone's width."""

    weight: np.ndarray  # (classes, segments * width) float64
    bias: np.ndarray  # (classes,) float64
    iterations: int

    def logits(self, of: np.ndarray) -> np.ndarray:
        """The logits (n, classes) float32 of features (n, segments * width) float32."""
        return of @ self.weight.T.astype(np.float32) + self.bias.astype(np.float32)

    def expanded(self, classes: Sequence[int], largest_logit: float) -> dict[str, torch.Tensor]:
        """The head over all of ImageNet's classes, as checkpoints have it: weight (1000, segments * width) and
        bias (1000,), float32.

        classes: the class index of each row. The mean over the classes is taken off weight and bias, which
        changes no probability; then the largest logit of any picture is 0 or more. So the other classes, with
        no weight and a bias of -32 or less, have less than 1000 * exp(-32) = 1.3e-11 of the probability
        together, and never win. largest_logit, by amount, is taken off that bias, too: what quantizing does to
        the logits grows with them.
        """
        weight = torch.zeros(CLASSES, self.weight.shape[1])
        bias = torch.full((CLASSES,), -MARGIN - largest_logit)
        at = torch.tensor(list(classes))
        weight[at] = torch.from_numpy(self.weight - self.weight.mean(axis=0)).float()
        bias[at] = torch.from_numpy(self.bias - self.bias.mean()).float()
        return {"weight": weight, "bias": bias}


def carry_out(
    db: sqlite3.Connection, request: HeadRequest, journal: Journal, *, add_model: AddModel, add_view: AddView
) -> Rows:
    """Train the head, write it below data/own/models and register it, and return the rows: one of part "fit",
    and one of part "candidate" for each of STRENGTHS.

    Shares are 0..1 with 95% intervals: of a candidate, on the training pictures held out; of the fit, on the
    pictures held out for good, or where there are none, what its strength had as a candidate. Features that are
    kept on disk are not computed again, nor candidates that the journal has. Raises InputError where something
    is in the way, before anything is computed, and VitquantError where a file cannot be written.
    """
    catalog.check_new_name(registry.MODELS, request.name)
    of = heads.backbone(request.model, request.weights, request.backbone)
    found = heads.pictures(db, request.dataset, request.pictures, request.seed)
    rest_is_there = not found.rest or heads.check_rest(found)
    _check_room(of, found)
    begun = time.perf_counter()
    training, rest = _features(db, of, found, request.image_size, journal)
    read = time.perf_counter()
    targets = _targets(found, found.training)
    rows = _candidates(training, targets, heads.split(found.training), journal)
    best = min(rows, key=lambda row: row["cross_entropy_nats"])
    head = fit(training, targets, best["strength"], _teller(journal, len(STRENGTHS), best["strength"]))
    fitted = time.perf_counter()
    figures = judged(head, rest, _targets(found, found.rest)) if found.rest else _figures_of(best)
    state = head.expanded(found.classes, float(np.abs(head.logits(training)).max()))
    backbone_file, head_file = _write(of, request.name, state)
    try:
        if not rest_is_there:
            add_view(
                heads.rest_name(request.dataset),
                request.dataset,
                found.rest,
                f"{catalog.dataset(request.dataset).title}: what heads were not trained on",
            )
        files, title = [backbone_file, head_file], heads.title(of, request.dataset)
        spec = catalog.model(of.model)
        timm_name = spec.timm_name if spec.family == "timm" else None
        add_model(request.name, files, title=title, trained_on=request.dataset, timm_name=timm_name)
    except BaseException:  # they belong to nothing
        shutil.rmtree(heads.folder(request.name), ignore_errors=True)
        raise
    journal.progress(len(STRENGTHS) + 1, len(STRENGTHS) + 1, "")
    row = {
        "part": "fit",
        "model": request.name,
        "backbone": of.model,
        "dataset": request.dataset,
        "image_size": request.image_size,
        "strength": best["strength"],
        "iterations": head.iterations,
        "classes": len(found.classes),
        "single_picture_classes": found.single,
        "n_train": len(found.training),
        "left_out": found.left_out,
        "held_out": heads.rest_name(request.dataset) if found.rest else None,
        **figures,
        "features_s": read - begun,
        "fitting_s": fitted - read,
        "backbone_file": str(backbone_file),
        "head_file": str(head_file),
        "head_sha256": sha256_of(head_file),
    }
    return [row, *({**tried, "chosen": tried is best} for tried in rows)]


def fit(of: np.ndarray, targets: np.ndarray, strength: float, tell: Callable[[], None] = lambda: None) -> Head:
    """The head with the smallest mean cross-entropy plus strength / 2 times the squared weights, those of
    standardised features; then both are folded together.

    of: features (n, d) float32; targets: (n,) integers, 0 to the number of classes less one. tell: called at
    every step, may raise to stop. The problem is convex, so it begins anywhere: at zero.
    """
    mean = of.mean(axis=0, dtype=np.float64)
    spread = of.std(axis=0, dtype=np.float64)
    spread = np.maximum(spread, LEAST_SPREAD * np.median(spread))
    spread[spread == 0] = 1.0
    standardised = torch.from_numpy(of - mean.astype(np.float32)).div_(torch.from_numpy(spread).float())
    true = torch.from_numpy(targets)[:, None]
    classes = int(targets.max()) + 1
    weight = torch.zeros(classes, of.shape[1], dtype=torch.float64)
    bias = torch.zeros(classes, dtype=torch.float64)

    def of_some(part: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The sum of the cross-entropy and its gradients; the large products in float32."""
        logits = torch.addmm(bias.float(), standardised[part], weight.float().T)
        log_p = logits.log_softmax(dim=1)
        errors = log_p.exp().scatter_add_(1, true[part], torch.full(true[part].shape, -1.0))
        entropy = -log_p.gather(1, true[part]).sum(dtype=torch.float64)
        return entropy, (errors.T @ standardised[part]).double(), errors.sum(dim=0, dtype=torch.float64)

    def loss() -> float:
        tell()
        parts = cores.map(of_some, len(true), ROWS)
        entropy, slope, errors = (
            torch.stack(of_all).sum(dim=0) / len(true) for of_all in zip(*parts, strict=True)
        )
        weight.grad, bias.grad = slope.add_(weight, alpha=strength), errors
        return float(entropy + strength / 2 * weight.square().sum())

    search = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MOST_ITERATIONS,
        max_eval=2 * MOST_ITERATIONS,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        history_size=10,
        line_search_fn="strong_wolfe",
    )
    with composed.cores() as cores:
        search.step(loss)
    iterations = int(search.state[weight]["n_iter"])
    folded = weight.numpy() / spread
    return Head(folded, bias.numpy() - folded @ mean, iterations)


def judged(head: Head, of: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """What a head is worth on pictures that it was not trained on, by their features and classes (-1: one that
    it does not know; the mean cross-entropy is over the others)."""
    logits = head.logits(of)
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    n, known = len(targets), np.flatnonzero(targets >= 0)
    top1 = statistics.wilson(int((logits.argmax(axis=1) == targets).sum()), n)
    return {
        "n_heldout": n,
        "top1": top1.share,
        "top1_low": top1.low,
        "top1_high": top1.high,
        "cross_entropy_nats": float(-log_p[known, targets[known]].mean()),
    }


def load(of: Backbone) -> Classifier:
    """The backbone, float32, as a module that gives what a head reads, (N, segments * width), instead of
    logits.

    Raises InputError, naming file and tensor, where the checkpoint is not this backbone's.
    """
    if of.is_alone:
        spec = catalog.model(of.model)
        with tempfile.TemporaryDirectory() as scratch:  # models are loaded whole, so here is a head of nothing
            empty = Path(scratch) / spec.head_file
            dtype = getattr(torch, spec.stored_as)
            shapes = {"weight": (CLASSES, spec.head_segments * spec.width), "bias": (CLASSES,)}
            torch.save({name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}, empty)
            model = models.load(Weights(of.model, "folder", (of.weights.files[0], empty)))
    else:
        model = models.load(of.weights)
    model.add_module("linear_head", nn.Identity())
    return model


def _features(
    db: sqlite3.Connection, of: Backbone, found: Pictures, image_size: int, journal: Journal
) -> tuple[np.ndarray, np.ndarray]:
    """What the backbone makes of the training pictures and of the rest, each (n, segments * width) float32."""
    spec = catalog.model(of.model)
    width = spec.head_segments * spec.width
    total = len(found.training) + len(found.rest)
    backbone = heads.digest_of_backbone(db, of)
    loaded = functools.cache(lambda: load(of))
    digests = heads.digest_of_pictures(db, found)

    def obtain(start: int, end: int) -> np.ndarray:
        of_these = digests[start:end]
        # Kept in an order that is no seed's: the same pictures in another order are found again.
        order = sorted(range(end - start), key=of_these.__getitem__)
        files = found.files([*found.training, *found.rest][start:end])
        key = {
            "version": features.VERSION,
            "backbone": backbone,
            "pictures": sorted(of_these),
            "image_size": image_size,
        }
        kept = features.obtain(
            predictions.key_of(key),
            loaded,
            [files[place] for place in order],
            image_size,
            width,
            f"what {of.model} makes of {end - start:,} pictures of {found.dataset.name}",
            lambda done: journal.progress(start + done, total, "features"),
        )
        return kept[np.argsort(order)]

    training = obtain(0, len(found.training))
    return training, obtain(len(found.training), total) if found.rest else training[:0]


def _candidates(
    of: np.ndarray, targets: np.ndarray, places: tuple[list[int], list[int]], journal: Journal
) -> Rows:
    """A row for each of STRENGTHS: trained on some of the training pictures, judged on the others."""
    kept, held = places
    rows = [dict(row) for row in journal.rows]
    finished = journal.finished("strength")
    lacking = [strength for strength in STRENGTHS if strength not in finished]
    if not lacking:
        return rows
    # Every class is among the kept ones, so that its number stays what it is.
    some, others = of[kept], of[held]
    for strength in lacking:
        begun = time.perf_counter()
        head = fit(some, targets[kept], strength, _teller(journal, STRENGTHS.index(strength), strength))
        rows.append(
            {
                "part": "candidate",
                "strength": strength,
                "n_train": len(kept),
                **judged(head, others, targets[held]),
                "iterations": head.iterations,
                "seconds": time.perf_counter() - begun,
            }
        )
        journal.keep(rows)
    return rows


def _teller(journal: Journal, done: int, strength: float) -> Callable[[], None]:
    return lambda: journal.progress(done, len(STRENGTHS) + 1, f"fitting, strength {strength:g}")


def _targets(found: Pictures, examples: Sequence[Example]) -> np.ndarray:
    """The classes of these pictures, as places among the training pictures' classes; -1 where it is none of
    them."""
    place = {class_index: number for number, class_index in enumerate(found.classes)}
    return np.array([place.get(example.class_index, -1) for example in examples], dtype=np.int64)


def _figures_of(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("n_heldout", "top1", "top1_low", "top1_high", "cross_entropy_nats")}


def _check_room(of: Backbone, found: Pictures) -> None:
    """InputError where memory has no room for the model and three copies of the features, or the disk none."""
    spec = catalog.model(of.model)
    width = spec.head_segments * spec.width
    pictures = len(found.training) + len(found.rest)
    needed = room.IMPORTS_BYTES + 2 * 4 * spec.parameters + 3 * 4 * pictures * width
    free = psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"A head for {of.model} and {pictures:,} pictures would need about {room.amount(needed)} of memory "
            f"(estimated), and {room.amount(free)} are free: take fewer pictures, or free some."
        )
    written = 0 if of.file else 4 * spec.backbone_parameters
    on_disk = 4 * pictures * width + 4 * spec.head_parameters + written
    room.check_disk(registry.folder(registry.MODELS), on_disk, "Training this head")


def _write(of: Backbone, name: str, state: dict[str, torch.Tensor]) -> tuple[Path, Path]:
    """Write the head's checkpoint, and the backbone's where no file holds it: their paths, the backbone's
    first."""
    folder = heads.folder(name)
    backbone_file = of.file
    if backbone_file is None:
        backbone_file = folder / "backbone.pth"
        _save(_checkpoint(of), backbone_file)
    head_file = folder / "head.pth"
    _save(state, head_file)
    return backbone_file, head_file


def _checkpoint(of: Backbone) -> dict[str, torch.Tensor]:
    """A backbone as Torch Hub's checkpoints have it: float32 tensors by their names there."""
    spec = catalog.model(of.model)
    return {models.checkpoint_name(spec, name): tensor for name, tensor in load(of).state_dict().items()}


def _save(state: dict[str, torch.Tensor], file: Path) -> None:
    """The file appears whole or not at all. Raises VitquantError where it cannot be written."""
    try:
        with whole.written(file) as writing, writing.open("wb") as opened:
            torch.save(state, opened)
    except RuntimeError as error:  # torch's writer raises it in place of the file's own error
        reason = error.__context__
        if not isinstance(reason, OSError):
            raise
        raise VitquantError(f"{file} could not be written: {reason.strerror or reason}.") from error
