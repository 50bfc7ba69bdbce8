"""Which layers are left in float, so that a limit on what is lost is kept: as few as possible."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from vitquant import packing, sensitivity, side_by_side
from vitquant.cure import Cure
from vitquant.errors import InputError
from vitquant.search import Search


def leave_in_float(search: Search, base: Cure, *, surely: bool = True) -> None:
    """The fewest layers left in float that keep the limit surely, and of them none that can do without.

    Layers are ranked by what each costs alone (the KL divergence to fp32, on the pictures that the ranges are
    taken from); the smallest number of the worst that keeps the limit is found by halving; then each of them,
    the least harmful first, is put back to int8 if the limit still holds.
    """
    as_float = "float16" if search.judge.has_float16 else "float32"
    begun = len(search.trail)

    def candidate(left: Sequence[str], step: str) -> bool:
        cure = replace(base, in_float=tuple(left))
        judged = search.measure(step, cure)
        kept = judged.keeps(search.limit, surely=surely)
        holds = "holds" if kept else "does not hold"
        lost = f"{judged.points_lost:.2f} points lost, {judged.points_lost_high:.2f} at most"
        search.decide(kept, f"{lost}: the limit of {search.limit:g} {holds}")
        if kept:
            search.cure, search.judged = cure, judged
        return kept

    search.parameters |= {"left in float": [], "as": as_float}
    if search.judge.random:
        search.parameters["limit"] = "says nothing of random weights, which believe in no class"
    if candidate((), "no layer left in float"):
        return
    ranked = _ranked(search, base)

    def leaving(count: int) -> bool:
        return candidate(ranked[:count], f"the worst {count} of {len(ranked)} layers left in {as_float}")

    if not leaving(len(ranked)):
        lost = search.trail[-1]["points_lost_high"]
        raise InputError(
            f"No mix keeps within {search.limit:g} points: even with every layer in {as_float}, up to "
            f"{lost:.2g} are lost by the {len(search.judge.classes):,} training pictures that judge. Allow "
            "more (limit=…), or take fp32."
        )
    too_few, enough = 0, len(ranked)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if leaving(middle) else (middle, enough)
    if enough == len(ranked):
        raise InputError(
            f"Only with every layer left in {as_float} are at most {search.limit:g} points lost: that is no "
            f"int8 model. Allow more (limit=…), or take {as_float.replace('float32', 'fp32')}."
        )
    left = ranked[:enough]
    for name in reversed(ranked[: enough - 1]):  # without the last of them the halving has tried it
        without = [other for other in left if other != name]
        if candidate(without, f"{_title(search, name)} put back to int8"):
            left = without
    search.parameters["left in float"] = left
    for row in search.trail[begun:]:
        if row["kept"] and row["in_float"] > len(left):
            row |= {"kept": False, "why": f"{row['why']}, with fewer in float as well"}


def _ranked(search: Search, base: Cure) -> list[str]:
    """Every layer by what it costs alone, the worst first."""
    judge = search.judge
    inputs = judge.pictures.fitted_to
    search.tell(len(search.trail), "what each layer costs alone")
    floats, variant = packing.floats_of(judge.model, base), judge.build(base)
    size = side_by_side.at_once(floats, inputs)
    logits = torch.cat(judge.cores.map(lambda part: floats(inputs[part]), len(inputs), size)).numpy()
    tokens = torch.cat(judge.cores.map(lambda part: floats.embed(inputs[part]), len(inputs), size))
    answers = sensitivity.Answers(logits, logits.argmax(axis=1))
    done = len(search.trail)
    rows = sensitivity.measure(
        floats,
        variant,
        judge.of_model,
        (tokens, tokens),
        answers,
        judge.cores,
        (),
        lambda *_: search.tell(done, "…"),
    )
    costs = {row["layer"]: row["alone_kl_nats"] for some in rows for row in some if row["part"] == "layer"}
    return sorted(costs, key=lambda name: -costs[name])


def _title(search: Search, name: str) -> str:
    return next(one.title for one in search.of_model if one.name == name)
