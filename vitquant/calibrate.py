"""Carries a calibration out: finds the steps of a calibrated recipe for one model, and keeps the trail of what
was tried and measured on the way.

Every candidate is built and answers the judging pictures, which are training pictures that its ranges were not
taken from.
"""

from collections.abc import Callable
from dataclasses import replace
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
    mixing,
    models,
    packing,
    side_by_side,
    smoothing,
    variants,
)
from vitquant.activations import ranges
from vitquant.calibration import Chosen
from vitquant.composed import Watched
from vitquant.cure import Cure
from vitquant.errors import InputError
from vitquant.judging import Judge, Judged
from vitquant.runs import Rows
from vitquant.search import Search, weight_of
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
    find, candidates = FINDERS[own]
    total = candidates(len(of_model))

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
        reached = {name: ranges(of, weight_of(model, name).numpy()) for name, of in seen.items()}
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
    mixing.leave_in_float(search, Cure())


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
    has_layer_scales = smoothing.has_layer_scales(search.judge.model)
    if has_layer_scales:
        folded = replace(search.cure, fold_layer_scale=True)
        search.attempt("layer scales multiplied into the weights", folded, by=-COSTS_NOTHING)
    corrected = replace(search.cure, bias=_mean_errors(search))
    search.attempt("mean errors taken off the biases", corrected)
    # A cured model rests on a dozen candidates, not on the luckiest of many mixes: its own figure counts.
    if search.judged is not None and not search.judged.keeps(search.limit, surely=False):
        before, begun = (search.cure, search.judged), len(search.trail)
        try:
            mixing.leave_in_float(search, search.cure, surely=False)
        except InputError as error:  # what was found before is still the best there is
            search.cure, search.judged = before
            search.parameters["limit"] = str(error)
            for row in search.trail[begun:]:
                row["kept"] = False
    search.parameters["weights"] = "a scale for each row" if search.cure.per_channel else "one scale a layer"
    if has_layer_scales:
        are_folded = search.cure.fold_layer_scale
        search.parameters["layer scales"] = "folded into the weights" if are_folded else "as they are"
    search.parameters["biases"] = "corrected" if search.cure.bias else "as they are"


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


FINDERS: dict[str, tuple[Callable[[Search], None], Callable[[int], int]]] = {
    # recipe -> what finds its cure, and how many candidates that may take for so many layers
    "qint8_smooth": (smooth, lambda layers: len(ALPHAS) + 2),
    "qint8_mixed": (mixed, lambda layers: layers),
    "qint8_best": (best, lambda layers: len(ALPHAS) + 9),
}
