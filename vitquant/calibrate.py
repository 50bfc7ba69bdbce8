"""Carries a calibration out: finds the steps of a calibrated recipe for one model, and keeps the trail of what
was tried and measured on the way.

Every candidate is built and answers the judging pictures, which are training pictures that its ranges were not
taken from.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from vitquant import (
    activations,
    catalog,
    composed,
    judging,
    layers,
    machine,
    models,
    packing,
    sensitivity,
    side_by_side,
    smoothing,
    variants,
)
from vitquant.activations import Ranges, ranges
from vitquant.calibration import Chosen
from vitquant.composed import Watched
from vitquant.cure import Cure
from vitquant.errors import InputError
from vitquant.judging import Judge, Judged
from vitquant.layers import Layer
from vitquant.runs import Rows
from vitquant.variants import Recipe
from vitquant.weights import Weights

ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""How much of the difficulty goes into the weights; SmoothQuant's paper finds 0.4 to 0.6 best for most models,
and up to 0.75 and 0.9 for those with many outliers."""

WORTH_ITS_TIME = 0.1
"""A step that costs time in every prediction must lower the mean KL by this share."""

COSTS_NOTHING = 0.02
"""A step that saves time may raise the mean KL by this share."""

Progress = Callable[[int, int, str], None]


@dataclass
class Search:
    """One calibration under way: the best so far, and every candidate measured on the way to it."""

    judge: Judge
    ranges: Mapping[str, Ranges]  # of what reaches each layer in float32
    limit: float  # points of top-1 that may be lost
    tell: Callable[[int, str], None]  # with how many candidates are measured, and the one that comes
    cure: Cure = field(default_factory=Cure)
    judged: Judged | None = None
    parameters: dict[str, Any] = field(default_factory=dict)  # what people read of the best
    trail: list[dict[str, Any]] = field(default_factory=list)

    @property
    def of_model(self) -> Sequence[Layer]:
        return self.judge.of_model

    def measure(self, step: str, cure: Cure) -> Judged:
        """Judge a candidate and note it."""
        self.tell(len(self.trail), step)
        judged = self.judge.measure(cure)
        size = weight_bytes(self.judge.model, self.of_model, cure, has_float16=self.judge.has_float16)
        row = {"step": step, **judged.row(), "weight_bytes": size, "in_float": len(cure.in_float)}
        self.trail.append(row | {"kept": None, "why": ""})
        return judged

    def decide(self, kept: bool, why: str, row: int = -1) -> None:
        """Note what became of a candidate, the last one unless told otherwise."""
        self.trail[row] |= {"kept": kept, "why": why}

    def start(self, step: str, cure: Cure) -> None:
        """Take a candidate as the one that others have to beat."""
        self.cure, self.judged = cure, self.measure(step, cure)
        self.decide(True, "where the search begins")

    def attempt(self, step: str, candidate: Cure, *, by: float = 0.0, free: bool = True) -> bool:
        """Measure a candidate, and keep it where it beats the best so far.

        by: the share by which its mean KL must be lower; below 0 it may be higher, since it saves time.
        """
        assert self.judged is not None
        after = self.measure(step, candidate)
        before_kl, after_kl = self.judged.mean_kl_nats, after.mean_kl_nats
        change = f"mean KL {before_kl:.3g} before, {after_kl:.3g} with it"
        if by < 0:
            kept = not self.judged.is_better_than(after, -by)
            why = f"{change}: less to compute" if kept else f"{change}: too much for what it saves"
        else:
            kept = after.is_better_than(self.judged, by)
            why = change if kept else f"{change}: within one standard error"
            if not kept and by and after.is_better_than(self.judged):
                why = f"{change}: too little for one more operation"
        self.decide(kept, why)
        if kept:
            self.cure, self.judged = candidate, after
        return kept

    def smoothing(self, kinds: Iterable[str], alpha: float) -> dict[str, np.ndarray]:
        """The scales of all layers of these kinds."""
        return {
            one.name: smoothing.scales(
                one.name, self.ranges[one.name].act_absmax, _weight_of(self.judge.model, one.name), alpha
            )
            for one in self.of_model
            if one.kind in kinds
        }


def carry_out(
    source: Weights, recipe: Recipe, chosen: Chosen, progress: Progress
) -> tuple[Cure, dict[str, Any], Rows]:
    """The cure that a recipe finds for a model, what people read of it, and the trail: a row a candidate.

    progress(done, total, what) counts candidates; what it raises ends the calibration. Raises InputError where
    the pictures or what reaches a layer cannot be used, and where no mix keeps the recipe's limit.
    """
    own = variants.own_name(recipe.name)
    settings = recipe.settings or {}
    of_model = layers.of(catalog.model(source.model))
    find = {"qint8_smooth": smooth, "qint8_mixed": mixed, "qint8_best": best}[own]
    total = {"qint8_smooth": len(ALPHAS) + 2, "qint8_mixed": len(of_model), "qint8_best": len(ALPHAS) + 9}[own]

    def tell(done: int, what: str) -> None:
        progress(done, max(total, done + 1), f"{own}: {what}")

    engine = machine.engine()
    variants.set_engine(engine)
    tell(0, "reading the pictures")
    pictures = judging.read(chosen)
    model = models.load(source)
    with composed.cores() as cores:
        seen = side_by_side.reaching(model, of_model, pictures.fitted_to, cores)
        for layer in of_model:
            activations.check(seen[layer.name], layer, source.model)
        reached = {name: ranges(of, _weight_of(model, name).numpy()) for name, of in seen.items()}
        has_float16, is_random = variants.has_float16(engine), source.source == "random"
        judge = Judge(model, of_model, pictures, cores, has_float16=has_float16, random=is_random)
        search = Search(judge, reached, settings.get("limit", variants.USUAL_LIMIT), tell)
        find(search)
    return search.cure, search.parameters, search.trail


def smooth(search: Search) -> None:
    """SmoothQuant, with a scale for each row of the weights: the layers behind a LayerNorm, at the alpha with
    the lowest mean KL; and proj and fc2 where that pays off."""
    _best_alpha(search, Cure(per_channel=True))
    _equalise(search)
    _divide(search)


def mixed(search: Search) -> None:
    """The notebook's int8, with the fewest layers left in float that keep the limit."""
    _leave_in_float(search, Cure())


def best(search: Search) -> None:
    """Every step in turn, each kept only where it pays off; in the end layers are left in float where the limit
    is not kept without."""
    per_channel = "a scale for each row of the weights"
    search.start("int8 as in the notebook", Cure())
    search.attempt(per_channel, replace(search.cure, per_channel=True))
    _best_alpha(search, search.cure)
    if not search.cure.per_channel:
        search.attempt(f"{per_channel}, now that they are smoothed", replace(search.cure, per_channel=True))
    if packing.saturates():
        search.parameters["activations"] = "7 bits: this CPU saturates with 8"
    elif search.attempt(
        "8 bits for activations, where torch keeps to 7", replace(search.cure, full_range=True)
    ):
        search.parameters["activations"] = "8 bits: this CPU adds them up without saturating"
    _equalise(search)
    _divide(search)
    folded = replace(search.cure, fold_layer_scale=True)
    search.attempt("layer scales multiplied into the weights", folded, by=-COSTS_NOTHING)
    corrected = replace(search.cure, bias=_mean_errors(search))
    search.attempt("mean errors taken off the biases", corrected)
    # A cured model rests on a dozen candidates, not on the luckiest of many mixes: its own figure counts.
    if search.judged is not None and not search.judged.keeps(search.limit, surely=False):
        before, begun = (search.cure, search.judged), len(search.trail)
        try:
            _leave_in_float(search, search.cure, surely=False)
        except InputError as error:  # what was found before is still the best there is
            search.cure, search.judged = before
            search.parameters["limit"] = str(error)
            for row in search.trail[begun:]:
                row["kept"] = False
    search.parameters |= {
        "weights": "a scale for each row" if search.cure.per_channel else "one scale a layer",
        "layer scales": "folded into the weights" if search.cure.fold_layer_scale else "as they are",
        "biases": "corrected" if search.cure.bias else "as they are",
    }


def _best_alpha(search: Search, base: Cure) -> None:
    """Smooth the layers behind a LayerNorm, at the best alpha."""
    first = len(search.trail)
    tried: dict[float, tuple[Cure, Judged]] = {}
    for alpha in ALPHAS:
        cure = replace(base, smooth=search.smoothing(smoothing.FREE, alpha))
        tried[alpha] = cure, search.measure(f"smoothed, alpha {alpha:g}", cure)
    chosen = min(tried, key=lambda alpha: tried[alpha][1].mean_kl_nats)
    cure, judged = tried[chosen]
    pays_off = search.judged is None or judged.is_better_than(search.judged)
    for place, alpha in enumerate(ALPHAS):
        if alpha != chosen:
            search.decide(False, f"alpha {chosen:g} has a lower mean KL", first + place)
        elif pays_off:
            search.decide(True, "the lowest mean KL of all alphas", first + place)
        else:
            search.decide(False, "the best alpha, and no better than without smoothing", first + place)
    if pays_off:
        search.cure, search.judged = cure, judged
        search.parameters["alpha"] = chosen


def _equalise(search: Search) -> None:
    """Scales for proj, taken by the values that qkv makes: free, so kept where they help at all."""
    alpha = search.parameters.get("alpha", 0.5)
    candidate = replace(search.cure, smooth={**search.cure.smooth, **search.smoothing(("proj",), alpha)})
    kept = search.attempt("values and attention's output equalised", candidate)
    search.parameters["proj"] = "smoothed, folded into the values" if kept else "left as it is"


def _divide(search: Search) -> None:
    """Scales for fc2: behind a GELU a multiplication of their own, so kept only where worth its time."""
    alpha = search.parameters.get("alpha", 0.5)
    one = next(layer.name for layer in search.of_model if layer.kind == "fc2")
    free = smoothing.is_gated(search.judge.model, one)
    candidate = replace(search.cure, smooth={**search.cure.smooth, **search.smoothing(("fc2",), alpha)})
    how = "folded into fc1" if free else "by a multiplication behind the GELU"
    kept = search.attempt(f"fc2's input smoothed, {how}", candidate, by=0.0 if free else WORTH_ITS_TIME)
    search.parameters["fc2"] = f"smoothed, {how}" if kept else "left as it is"


def _mean_errors(search: Search) -> dict[str, np.ndarray]:
    """What each layer's outputs are off on average, given float32's inputs: (out_features,) float32 by layer.

    Bias correction, as in Nagel et al. (arXiv 1906.04721), from the pictures that the ranges are taken from.
    """
    judge = search.judge
    floats, built = packing.floats_of(judge.model, search.cure), judge.build(search.cure)
    inputs = judge.pictures.fitted_to

    def on_some(part: slice) -> dict[str, tuple[torch.Tensor, int]]:
        found: dict[str, tuple[torch.Tensor, int]] = {}

        def watched(name: str) -> Watched:
            exact, packed = floats.get_submodule(name), built.get_submodule(name)

            def see(batch: torch.Tensor) -> None:
                answers = torch.cat([packed(batch[i : i + 1]) for i in range(len(batch))])
                errors = (exact(batch) - answers).flatten(0, -2)
                found[name] = errors.double().sum(dim=0), len(errors)

            return Watched(exact, see)

        composed.with_layers(floats, {one.name: watched(one.name) for one in judge.of_model})(inputs[part])
        return found

    parts = judge.cores.map(on_some, len(inputs), side_by_side.at_once(judge.model, inputs))
    means = {}
    for name in parts[0]:
        sums, counts = zip(*(part[name] for part in parts), strict=True)
        means[name] = (torch.stack(sums).sum(dim=0) / sum(counts)).float().numpy()
    return means


def _leave_in_float(search: Search, base: Cure, *, surely: bool = True) -> None:
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


def weight_bytes(model: torch.nn.Module, of_model: Sequence[Layer], cure: Cure, *, has_float16: bool) -> int:
    """What the Linear weights and their scales take in bytes, computed: 1 for each number in int8, 2 or 4 for
    one left in float; 12 for each scale with its zero point (float64 and int32, as torch keeps them)."""
    total = 0
    for layer in of_model:
        rows, columns = _weight_of(model, layer.name).shape
        if layer.name in cure.in_float:
            total += (2 if has_float16 else 4) * rows * columns
        else:
            total += rows * columns + 12 * (rows if cure.per_channel else 1)
    return total


def _weight_of(model: torch.nn.Module, name: str) -> torch.Tensor:
    weight: Any = model.get_submodule(name).weight
    return weight
