"""Pictures -> logits -> top-k: the one place that runs a model on pictures."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from PIL import Image
from scipy.special import log_softmax
from torch import nn
from torchvision import transforms

from vitquant import machine, models, variants
from vitquant.cure import Cure
from vitquant.own_pictures_listing import UNLABELLED
from vitquant.vit import IMAGENET_MEAN, IMAGENET_STD
from vitquant.weights import Weights


def to_input(pictures: Sequence[Image.Image], image_size: int) -> torch.Tensor:
    """RGB pictures as the model takes them: (N, 3, image_size, image_size) float32.

    The notebook's transform, in its order: ToTensor, Normalize with ImageNet's mean and standard
    deviation, Resize (bilinear). Whether a model takes the size is for catalog.check_image_size to say.
    """
    transform = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            transforms.Resize((image_size, image_size), antialias=True),
        ]
    )
    return torch.stack([transform(picture) for picture in pictures])


@torch.inference_mode()
def logits_of(model: nn.Module, inputs: torch.Tensor, *, one_by_one: bool = False) -> np.ndarray:
    """The model's logits for a batch: (N, 1000) float32.

    one_by_one: each picture by itself, for variants whose answer depends on the batch around it.
    """
    if one_by_one:
        return torch.cat([model(inputs[i : i + 1]) for i in range(len(inputs))]).numpy()
    return model(inputs).numpy()


def top_k(logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k most probable classes of each row: (N, k) indices and (N, k) softmax probabilities.

    Equal logits are ordered by index, so that the same logits always give the same order.
    """
    order = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    probabilities = np.exp(log_softmax(logits.astype(np.float64), axis=1))
    return order, np.take_along_axis(probabilities, order, axis=1)


def truth(classes: Sequence[int] | np.ndarray, reference: np.ndarray) -> np.ndarray:
    """What counts as right for each picture: its class, or fp32's first answer where it has no label.

    classes: class indices, UNLABELLED where there is none; reference: fp32's logits, (N, 1000). (N,) integers.
    """
    said = np.asarray(classes, dtype=np.int64)
    return np.where(said == UNLABELLED, top_k(reference, 1)[0][:, 0], said)


def true_ranks(logits: np.ndarray, classes: Sequence[int] | np.ndarray) -> np.ndarray:
    """Which place the true class takes in each row, 1 being the most probable: (N,) integers."""
    order = np.argsort(-logits, axis=1, kind="stable")
    return np.argmax(order == np.asarray(classes)[:, None], axis=1) + 1


def probabilities_of(logits: np.ndarray, classes: Sequence[int] | np.ndarray) -> np.ndarray:
    """The softmax probability of one class in each row: (N,) float64."""
    probabilities = np.exp(log_softmax(logits.astype(np.float64), axis=1))
    return probabilities[np.arange(len(logits)), np.asarray(classes)]


def kl_nats(reference: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """KL(reference || these) between the softmax distributions of two (N, 1000) logits: (N,) in nats."""
    log_p = log_softmax(reference.astype(np.float64), axis=1)
    log_q = log_softmax(logits.astype(np.float64), axis=1)
    # Rounding can leave a divergence of zero a hair below it.
    return np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=1), 0.0)


def load_variants(
    weights: Weights, names: Iterable[str], engine: str, cures: Mapping[str, Cure] | None = None
) -> dict[str, nn.Module]:
    """The model's variants by name, in the order given, built from one float32 model.

    cures: what the calibrated ones among them need (fits.cures). The float32 model is kept only where fp32 is
    among them.
    """
    model = models.load(weights)
    return {name: variants.build(model, name, engine, (cures or {}).get(name)) for name in names}


def load_for_pass(
    weights: Weights, names: Iterable[str], image_size: int, cures: Mapping[str, Cure] | None = None
) -> dict[str, nn.Module]:
    """The variants as an accuracy pass runs them: as load_variants has them, but those that take one
    picture at a time are traced, since there the Python between their layers weighs most."""
    models = load_variants(weights, names, machine.engine(), cures)
    return {
        name: traced(model, image_size) if variants.recipe(name).batch_dependent else model
        for name, model in models.items()
    }


def traced(model: nn.Module, image_size: int, *, batch: int = 1) -> nn.Module:
    """The same model for pictures of one size, recorded as TorchScript from a batch of so many.

    Its answers are the same to the last bit. With no Python between the layers, threads no longer wait for
    each other there (benchmarks/threads_or_batches.py has the ratio).
    """
    with warnings.catch_warnings(), torch.inference_mode():
        # torch announces TorchScript's end; requirements.txt bounds torch, and untraced models do as well.
        warnings.filterwarnings("ignore", r".*torch\.jit\.\w+` is deprecated", FutureWarning)
        # The check of the image size cannot change for a model that is only given this one.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        example = torch.zeros(batch, 3, image_size, image_size)
        return cast(nn.Module, torch.jit.trace(model, example, check_trace=False))
