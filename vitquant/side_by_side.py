"""A float32 model and its int8 variant taken through the same pictures block by block: what each answers, what
reaches every layer, and how alike their tokens are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vitquant import composed, depth
from vitquant.activations import Seen
from vitquant.composed import Cores, Picturewise, Watched
from vitquant.layers import Layer
from vitquant.vit import Classifier


@dataclass(frozen=True)
class Looked:
    """What one pass of both over the pictures shows."""

    exact: np.ndarray  # (N, 1000) float32: fp32's logits
    found: np.ndarray  # (N, 1000) float32: the variant's, one picture at a time
    depth: np.ndarray  # (blocks, N, 4): depth.compared() after each block
    embedded: tuple[torch.Tensor, torch.Tensor]  # (N, tokens, width) as they enter block 0: of both


def reaching(
    floats: Classifier,
    of_model: Sequence[Layer],
    inputs: torch.Tensor,
    cores: Cores,
    tell: Callable[[float], None] = lambda share: None,
) -> dict[str, Seen]:
    """What reaches each layer of a float32 model, by its name. inputs: (N, 3, size, size) float32; tell: called
    with the share that is done."""

    def on_some(part: slice) -> dict[str, Seen]:
        seen: dict[str, Seen] = {}
        composed.with_layers(floats, {one.name: _watched(floats, one, seen) for one in of_model})(inputs[part])
        return seen

    parts = cores.map(on_some, len(inputs), at_once(floats, inputs), tell)
    return {one.name: Seen.joined(part[one.name] for part in parts) for one in of_model}


def look(
    model: Classifier,
    floats: Classifier,
    variant: Classifier,
    of_model: Sequence[Layer],
    inputs: torch.Tensor,
    cores: Cores,
    tell: Callable[[float], None] = lambda share: None,
) -> Looked:
    """Run both on inputs, (N, 3, size, size) float32. model: fp32; floats: the float32 model whose layers the
    variant's were made from, perhaps the same. tell: called with the share that is done."""
    quantized = picturewise(variant, of_model)

    def on_some(part: slice) -> Looked:
        some = [inputs[i : i + 1] for i in range(part.start, part.stop)]
        # One by one: a convolution of several pictures may differ in its last bits.
        exact, found = (torch.cat([one.embed(picture) for picture in some]) for one in (floats, quantized))
        embedded = exact, found
        figures: list[np.ndarray] = []
        lasts: list[tuple[torch.Tensor, torch.Tensor]] = []
        for block, other in zip(floats.blocks, quantized.blocks, strict=True):
            exact, found = block(exact), other(found)
            figures.append(depth.compared(exact, found, model.registers))
            lasts = [*lasts, (exact, found)][-model.head_blocks :]
        exacts, founds = ([pair[i] for pair in lasts] for i in range(2))
        logits = floats.answer(exacts) if floats is model else model(inputs[part])
        return Looked(logits.numpy(), quantized.answer(founds).numpy(), np.stack(figures), embedded)

    parts = cores.map(on_some, len(inputs), at_once(model, inputs), tell)
    first, second = (torch.cat([part.embedded[i] for part in parts]) for i in range(2))
    return Looked(
        np.concatenate([part.exact for part in parts]),
        np.concatenate([part.found for part in parts]),
        np.concatenate([part.depth for part in parts], axis=1),
        (first, second),
    )


def picturewise(model: Classifier, of_model: Sequence[Layer]) -> Classifier:
    """The same model with each of its Linear layers given one picture at a time: a batch is answered as its
    pictures are one by one, to the last bit (the embedding is not: take embed() picture by picture)."""
    return composed.with_layers(
        model, {layer.name: Picturewise(model.get_submodule(layer.name)) for layer in of_model}
    )


def _watched(model: Classifier, layer: Layer, seen: dict[str, Seen]) -> Watched:
    """The model's layer, which notes in seen what reaches it."""

    def see(batch: torch.Tensor) -> None:
        by_token = batch.flatten(1, -2) if batch.dim() > 2 else batch.unsqueeze(1)
        seen[layer.name] = Seen(by_token.amin(dim=1).numpy(), by_token.amax(dim=1).numpy())

    return Watched(model.get_submodule(layer.name), see)


def at_once(model: Classifier, inputs: torch.Tensor) -> int:
    return composed.at_once(1 + model.registers + (inputs.shape[-1] // model.patch_size) ** 2)
