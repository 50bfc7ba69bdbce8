"""What each Linear layer costs a quantized variant: it alone quantized, and all but it, against fp32's logits.

Layers times passes would take hours. A layer in block b leaves all that comes before it as it was: so tokens
are kept as they enter block b, in float32 and in the variant, and only block b and what follows are run, all
versions of block b in one batch.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vitquant import composed, depth, layers, predict, statistics
from vitquant.composed import Cores
from vitquant.layers import Layer
from vitquant.runs import Rows
from vitquant.side_by_side import picturewise
from vitquant.vit import Classifier

ALONE, BUT = "alone", "but"

Row = dict[str, Any]
Logits = dict[str, np.ndarray]  # of each version, (N, 1000) float32
Tell = Callable[[int, str], None]


@dataclass(frozen=True)
class Answers:
    """What every version's answers are compared with."""

    logits: np.ndarray  # fp32's, (N, 1000) float32
    classes: np.ndarray  # the true ones, (N,)

    def cost(self, logits: np.ndarray) -> Row:
        """What other logits of the same pictures cost: top1 and agree (the share answered as fp32 does) 0..1,
        lost the share of fp32's right answers that are lost less those gained, with its paired 95% interval,
        kl_nats the mean KL(fp32 || these), sqnr_db over all logits (None: the same to the last bit)."""
        n = len(self.classes)
        fp32s, firsts = (predict.top_k(of, 1)[0][:, 0] for of in (self.logits, logits))
        was_right, is_right = fp32s == self.classes, firsts == self.classes
        broken, fixed = int((was_right & ~is_right).sum()), int((~was_right & is_right).sum())
        lost = statistics.paired_difference(fixed, broken, n)  # the other way round: a loss counts positive
        return {
            "top1": float(is_right.mean()),
            "lost": lost.share,
            "lost_low": lost.low,
            "lost_high": lost.high,
            "agree": float((firsts == fp32s).mean()),
            "kl_nats": float(predict.kl_nats(self.logits, logits).mean()),
            "sqnr_db": depth.sqnr_db(self.logits, logits),
        }


@dataclass
class Walk:
    """One direction: pictures go through all of base, but for one layer or group that is other's.

    tokens: of all pictures (N, tokens, width) as they enter block `block` of base; last: what the head reads of
    the blocks that are behind them, (N, 1, width) each.
    """

    base: Classifier
    other: Classifier
    tokens: torch.Tensor
    block: int
    last: list[torch.Tensor]
    cores: Cores

    def exchanged(self, of_block: Sequence[Layer], tell: Callable[[float], None]) -> Logits:
        """The logits with each one of this block's layers exchanged, by its name, and with the whole block."""
        block = self.base.blocks[self.block]
        versions = {
            layer.name: composed.with_layers(block, {_inside(layer): self.other.get_submodule(layer.name)})
            for layer in of_block
        }
        versions[group_of(self.block)] = self.other.blocks[self.block]

        def answer(part: slice) -> torch.Tensor:
            tokens = torch.cat([version(self.tokens[part]) for version in versions.values()])
            last = [of[part].repeat(len(versions), 1, 1) for of in self.last]
            logits = self._onwards(tokens, last)
            return logits.unflatten(0, (len(versions), -1))

        found = self._on_all(answer, len(versions), tell, dim=1)
        return dict(zip(versions, found, strict=True))

    def with_kind(self, of_kind: Sequence[Layer], tell: Callable[[float], None]) -> np.ndarray:
        """The logits with these layers of all blocks exchanged; for a walk that has not begun."""
        model = composed.with_layers(
            self.base, {layer.name: self.other.get_submodule(layer.name) for layer in of_kind}
        )

        def answer(part: slice) -> torch.Tensor:
            tokens, last = self.tokens[part], []
            for place, block in enumerate(model.blocks):
                tokens = block(tokens)
                if place >= len(model.blocks) - model.head_blocks:
                    last.append(tokens)
            return model.answer(last)

        return self._on_all(answer, 1, tell)

    def step(self) -> None:
        """Take all pictures through the next block of base."""
        block = self.base.blocks[self.block]
        parts = self.cores.map(
            lambda part: block(self.tokens[part]), len(self.tokens), composed.at_once(self.tokens.shape[1])
        )
        self.tokens = torch.cat(parts)
        self.block += 1
        if self.block > len(self.base.blocks) - self.base.head_blocks:
            self.last.append(self.tokens[:, :1])

    def with_head(self) -> np.ndarray:
        """The logits with the head exchanged, at the walk's end."""
        model = composed.with_layers(self.base, {layers.HEAD: self.other.get_submodule(layers.HEAD)})
        return self._on_all(
            lambda part: model.answer([*(of[part] for of in self.last[:-1]), self.tokens[part]]), 1
        )

    def _onwards(self, tokens: torch.Tensor, last: list[torch.Tensor]) -> torch.Tensor:
        """The logits from what this block gives, through the rest of base."""
        blocks = self.base.blocks
        for place in range(self.block, len(blocks)):
            if place > self.block:
                tokens = blocks[place](tokens)
            if place >= len(blocks) - self.base.head_blocks:
                last.append(tokens)
        return self.base.answer(last)

    def _on_all(
        self,
        answer: Callable[[slice], torch.Tensor],
        versions: int,
        tell: Callable[[float], None] = lambda share: None,
        *,
        dim: int = 0,
    ) -> np.ndarray:
        at_once = composed.at_once(self.tokens.shape[1], versions)
        return torch.cat(self.cores.map(answer, len(self.tokens), at_once, tell), dim=dim).numpy()


def group_of(block: int) -> str:
    """What the group of a block's layers is called."""
    return f"block {block}"


def passes(of_model: Sequence[Layer]) -> int:
    """How many blocks measure() runs over all pictures, the versions of a block each counted: what its progress
    is told in."""
    blocks = 1 + max(layer.block for layer in of_model if layer.block is not None)
    kinds = len(layers.KINDS) - 1
    return 2 * (sum(_versions(of_model, block) * (blocks - block) for block in range(blocks)) + kinds * blocks)


def measure(
    floats: Classifier,
    variant: Classifier,
    of_model: Sequence[Layer],
    embedded: tuple[torch.Tensor, torch.Tensor],
    answers: Answers,
    cores: Cores,
    finished: Collection[tuple[str, object]],
    tell: Tell,
) -> Iterator[Rows]:
    """Rows of part "layer" and "group", block by block, then the head, then the kinds: each with what it costs
    alone ("alone_top1", …) and what all but it costs ("but_top1", …), as Answers.cost has it.

    floats: the float32 model whose layers the variant's were made from. embedded: what both their embed() give,
    (N, tokens, width). finished: the pairs of part and layer, or group, that are not to be measured again.
    tell(done, what): of passes(); what it raises ends the measurement.
    """
    quantized, exact = picturewise(variant, of_model), picturewise(floats, of_model)
    # In float32 pictures do not mind each other, and batches are faster; beside int8 they are as they are one
    # by one, so that not even a last bit differs.
    starts = {ALONE: (floats, quantized, embedded[0]), BUT: (quantized, exact, embedded[1])}
    walks = {way: Walk(base, other, tokens, 0, [], cores) for way, (base, other, tokens) in starts.items()}
    done = 0

    def share_of(cost: int, what: str) -> Callable[[float], None]:
        return lambda share: tell(done + int(share * cost), what)

    def costs(logits: dict[str, np.ndarray]) -> Row:
        found = {way: answers.cost(of) for way, of in logits.items()}
        figures = {f"{way}_{name}": value for way, cost in found.items() for name, value in cost.items()}
        return {"n": len(answers.classes), **figures}

    for block in range(len(floats.blocks)):
        of_block = [layer for layer in of_model if layer.block == block]
        cost = _versions(of_model, block) * (len(floats.blocks) - block)
        group = group_of(block)
        if not {("group", group), *(("layer", layer.name) for layer in of_block)} <= set(finished):
            logits = {}
            for way, walk in walks.items():
                logits[way] = walk.exchanged(of_block, share_of(cost, group))
                done += cost
            by_version = {
                version: costs({way: of[version] for way, of in logits.items()}) for version in logits[ALONE]
            }
            yield [
                *(_layer_row(layer) | by_version[layer.name] for layer in of_block),
                {"part": "group", "group": group, **by_version[group]},
            ]
        else:
            done += 2 * cost
        tell(done, group)
        for walk in walks.values():
            walk.step()

    [head] = [layer for layer in of_model if layer.block is None]
    if not {("layer", head.name), ("group", head.kind)} <= set(finished):
        found = costs({way: walk.with_head() for way, walk in walks.items()})
        yield [_layer_row(head) | found, {"part": "group", "group": head.kind, **found}]

    fresh = {way: Walk(base, other, tokens, 0, [], cores) for way, (base, other, tokens) in starts.items()}
    for kind in layers.KINDS:
        of_kind = [layer for layer in of_model if layer.kind == kind and layer.block is not None]
        if not of_kind:
            continue
        if ("group", kind) in finished:
            done += 2 * len(floats.blocks)
            continue
        by_way = {}
        for way, walk in fresh.items():
            by_way[way] = walk.with_kind(of_kind, share_of(len(floats.blocks), f"all {kind}"))
            done += len(floats.blocks)
        yield [{"part": "group", "group": kind, **costs(by_way)}]


def _versions(of_model: Sequence[Layer], block: int) -> int:
    return 1 + sum(layer.block == block for layer in of_model)


def _inside(layer: Layer) -> str:
    """The layer's name within its block."""
    return layer.name.removeprefix(f"blocks.{layer.block}.")


def _layer_row(layer: Layer) -> Row:
    return {"part": "layer", "layer": layer.name, "block": layer.block, "kind": layer.kind}
