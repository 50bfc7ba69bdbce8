"""One picture followed through fp32 and a variant, block by block: how far their tokens drift apart, from which
block on the answer is lost, and where each of them looks. Imports no torch until something is followed.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vitquant import labels
from vitquant.predictions import TOP

if TYPE_CHECKING:
    import torch

    from vitquant.vit import Classifier


@dataclass(frozen=True)
class Answer:
    """A model's first answers to the picture."""

    indices: tuple[int, ...]  # the top-5 classes, most probable first
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Followed:
    """One picture in fp32 and in a variant of it."""

    class_cosine: tuple[float, ...]  # after each block: fp32's class token with the variant's
    patch_cosine: tuple[float, ...]  # after each block: the mean over the patch tokens
    fp32: Answer
    variant: Answer
    mixed: tuple[
        int, ...
    ]  # first answer with the blocks before k as in the variant, the rest float32; k = 0..depth
    fp32_attention: np.ndarray  # of the class token to the patches: (depth, heads, rows, columns) float32
    variant_attention: np.ndarray

    @property
    def lost_from(self) -> int | None:
        """The smallest k for which the answer differs from fp32's and stays so for every larger one: float32
        from block k on no longer mends it. None where the last of them, whose head alone is float32, agrees."""
        lost = None
        for k in range(len(self.mixed) - 1, -1, -1):
            if self.mixed[k] == self.fp32.indices[0]:
                break
            lost = k
        return lost

    @property
    def is_lost(self) -> bool:
        """Whether the variant itself, head and all, answers otherwise than fp32."""
        return self.variant.indices[0] != self.fp32.indices[0]


def in_words(followed: Followed, variant: str) -> str:
    """From which block on the answer is lost, in a sentence of Markdown."""
    first = labels.short(labels.by_index(followed.fp32.indices[0]).words)
    other = labels.short(labels.by_index(followed.variant.indices[0]).words)
    lost, depth = followed.lost_from, len(followed.class_cosine)
    if lost is None and followed.is_lost:
        return (
            f"The blocks keep the answer: with all {depth} as in {variant} and the head in float32 it is still "
            f"**{first}**. Quantizing the head turns it into **{other}**."
        )
    if lost is None:
        on_the_way = sum(answer != followed.fp32.indices[0] for answer in followed.mixed)
        if not on_the_way:
            return (
                f"The answer stays **{first}**, with the first block, the first two and so on as in {variant}, "
                f"up to all {depth} and the head."
            )
        return (
            f"The answer is **{first}** in both. It is another in {on_the_way} of the {depth + 1} mixtures of "
            f"{variant}'s first blocks with float32 ones, but not with all of {variant}'s."
        )
    some = {1: "block 0 alone is", 2: "blocks 0 and 1 are"}.get(lost, f"blocks 0 to {lost - 1} are")
    if lost == depth:
        found = f"Only when all {depth} blocks are as in {variant} is the answer no longer **{first}**."
    else:
        found = (
            f"As soon as {some} as in {variant}, the answer is no longer **{first}**, although every later "
            "block and the head are float32: from there on nothing mends it."
        )
    end = (
        f" {variant} as a whole says **{other}**."
        if followed.is_lost
        else f" That {variant} as a whole says {first} again is its quantized head's doing."
    )
    return found + end


def to_plain(followed: Followed) -> dict[str, Any]:
    """As JSON takes it; from_plain reads it."""
    answers = {
        name: {"indices": answer.indices, "probabilities": answer.probabilities}
        for name, answer in (("fp32", followed.fp32), ("variant", followed.variant))
    }
    attention = {
        name: {"shape": found.shape, "float32": base64.b64encode(found.astype("<f4").tobytes()).decode()}
        for name, found in (
            ("fp32_attention", followed.fp32_attention),
            ("variant_attention", followed.variant_attention),
        )
    }
    return {
        "class_cosine": followed.class_cosine,
        "patch_cosine": followed.patch_cosine,
        "mixed": followed.mixed,
        **answers,
        **attention,
    }


def from_plain(plain: Mapping[str, Any]) -> Followed:
    """What to_plain gave."""

    def answer(name: str) -> Answer:
        return Answer(tuple(plain[name]["indices"]), tuple(plain[name]["probabilities"]))

    def attention(name: str) -> np.ndarray:
        values = np.frombuffer(base64.b64decode(plain[name]["float32"]), "<f4")
        return values.reshape(plain[name]["shape"])

    return Followed(
        class_cosine=tuple(plain["class_cosine"]),
        patch_cosine=tuple(plain["patch_cosine"]),
        fp32=answer("fp32"),
        variant=answer("variant"),
        mixed=tuple(plain["mixed"]),
        fp32_attention=attention("fp32_attention"),
        variant_attention=attention("variant_attention"),
    )


def follow(model: "Classifier", variant: "Classifier", picture: "torch.Tensor") -> Followed:
    """Run one picture, (1, 3, S, S) float32, through both. model: the float32 one; variant: as variants.build
    makes it, not traced."""
    import torch

    from vitquant import attention, depth

    grid = (picture.shape[-2] // model.patch_size, picture.shape[-1] // model.patch_size)
    with torch.inference_mode():
        with attention.watched(model) as looks:
            tokens = _after_each_block(model, picture)
        with attention.watched(variant) as variants_looks:
            variants_own = _after_each_block(variant, picture)
        logits = model.answer(_mixed(model, tokens, variants_own)).numpy()
        variants_logits = variant.answer(variants_own[-model.head_blocks :]).numpy()
    cosines = [
        depth.compared(exact, found.float(), model.registers)[0, :2]
        for exact, found in zip(tokens, variants_own, strict=True)
    ]
    return Followed(
        class_cosine=tuple(float(of_class) for of_class, _ in cosines),
        patch_cosine=tuple(float(of_patches) for _, of_patches in cosines),
        fp32=_answer(logits[:1]),
        variant=_answer(variants_logits),
        mixed=tuple(int(first) for first in logits.argmax(axis=1)),
        fp32_attention=attention.to_patches(looks, model.registers, grid),
        variant_attention=attention.to_patches(variants_looks, model.registers, grid),
    )


def _after_each_block(model: "Classifier", picture: "torch.Tensor") -> "list[torch.Tensor]":
    """The tokens of one picture after each block: (1, 1 + registers + patches, width) each."""
    tokens = model.embed(picture)
    return [tokens := block(tokens) for block in model.blocks]


def _mixed(
    model: "Classifier", tokens: "list[torch.Tensor]", variants_own: "list[torch.Tensor]"
) -> "list[torch.Tensor]":
    """What the blocks that the head reads give when the first k blocks are the variant's and the rest float32,
    for k = 0..depth: (depth + 1, tokens, width) each.

    tokens, variants_own: of all float32 and of the whole variant, after each block. The mixtures take no pass
    each: block after block, one batch of all that are under way goes through float32.
    """
    import torch

    found = []
    under_way = tokens[0][:0]  # after a block: k from 1 to this block's number
    for number, block in enumerate(model.blocks):
        own = variants_own[number].float()
        if len(under_way):
            under_way = block(under_way)
        still_the_variant = own.expand(len(tokens) - number, -1, -1)
        found.append(torch.cat([tokens[number], under_way, still_the_variant]))
        under_way = torch.cat([under_way, own])
    return found[-model.head_blocks :]


def _answer(logits: np.ndarray) -> Answer:
    from vitquant import predict

    indices, probabilities = predict.top_k(logits, TOP)
    return Answer(tuple(map(int, indices[0])), tuple(map(float, probabilities[0])))
