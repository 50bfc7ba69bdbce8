"""Which layers int8 breaks, and why: the cost of each layer, what reaches it, and where the error grows,
measured by running the model and its quantized variant on stored pictures. Imports no torch until measure() is
called.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vitquant import (
    activations,
    catalog,
    datasets,
    grid,
    images,
    layers,
    machine,
    neighbours,
    statistics,
    variants,
)
from vitquant.activations import Ranges
from vitquant.catalog import ModelSpec
from vitquant.cure import Cure
from vitquant.datasets import Dataset
from vitquant.errors import InputError
from vitquant.runs import Rows

if TYPE_CHECKING:
    import numpy as np

    from vitquant.request import Journal
    from vitquant.sensitivity import Answers
    from vitquant.weights import Weights

USUAL_PICTURES = 64
USUAL_VARIANTS = ("qint8",)

VERSION = 1
"""To be raised when the same request begins to give other rows."""

RANGES = "ranges.npz"
"""The attachment that has every layer's ranges, channel by channel."""

HELD_BYTES = 2 * 10**9
"""All pictures' tokens, in float32 and of the variant, and what goes into the model may take so much."""


def opened(
    model: str, dataset_name: str, pictures: int, image_size: int, variant_names: Sequence[str]
) -> Dataset:
    """The dataset to measure on; InputError where it is not here, the number of pictures or their size cannot
    be used, or not one variant is named, which has to be one of int8's."""
    catalog.check_image_size(image_size, model)
    if pictures < 1:
        raise InputError(f"{pictures} pictures leave nothing to measure: take 1 or more.")
    if len(variant_names) != 1:
        raise InputError(f"One variant at a time is diagnosed, and {len(variant_names)} are named.")
    [variant] = variant_names
    if not variants.recipe(variant).batch_dependent:
        int8 = [name for name, recipe in variants.RECIPES.items() if recipe.batch_dependent]
        raise InputError(
            f"{variant} does not round activations to int8, which is what is diagnosed: take "
            f"{' or '.join(int8)}."
        )
    dataset = datasets.open_dataset(dataset_name)
    spec = catalog.model(model)
    fit = HELD_BYTES // _held_bytes(spec, image_size)
    if min(pictures, len(dataset.examples)) > fit:
        instead = f"take {fit:,} or fewer, or smaller ones" if fit else "take smaller ones"
        raise InputError(
            f"{pictures:,} pictures of {image_size} pixels are more than a diagnosis of {model} holds in "
            f"memory: {instead}."
        )
    return dataset


def measure(
    source: "Weights",
    dataset: Dataset,
    pictures: int,
    image_size: int,
    variant_name: str,
    journal: "Journal",
    cure: Cure | None = None,
) -> Rows:
    """The rows of a diagnosis on the first so many pictures of the evaluation order (all of them where there
    are fewer), each with its "part":

    - "whole": fp32 and the variant as they are. fp32_top1, top1, and agree, the share of the n pictures
      answered as fp32 does, 0..1 with Wilson's 95% intervals; kl_nats the mean KL(fp32 || variant); sqnr_db of
      the logits (None: exact); levels and bits: what the kernel gives activations (vitquant/grid.py).
    - "range": what reaches each layer in float32 (activations.row); channel by channel in the attachment
      RANGES. Of the head also segments: how many tokens it reads side by side.
    - "depth": how alike the tokens are after each block (vitquant/depth.py).
    - "layer", "group": what each layer, block and kind costs (vitquant/sensitivity.py).
    - "batch", "flip": what the pictures beside it do to a picture's answer (vitquant/neighbours.py).

    Elsewhere variants are run one picture at a time. cure: of a calibrated variant (vitquant/fits.py).
    Pictures are decoded once. What the journal has is not measured again. Raises InputError where what reaches
    a layer is all zero, NaN or infinite.
    """
    from vitquant import composed, models, predict, sensitivity, side_by_side
    from vitquant import depth as depths

    rows = [dict(row) for row in journal.rows]
    finished = {_key(row) for row in rows}
    spec = catalog.model(source.model)
    of_model = layers.of(spec)
    at_first, first_look, at_last = spec.depth, 3 * spec.depth, 3 * spec.depth
    total = first_look + sensitivity.passes(of_model) + at_last
    examples = [dataset.examples[index] for index in datasets.evaluation_order(dataset)[:pictures]]

    def tell(done: int, what: str) -> None:
        """How far it is, in blocks run; the journal may ask to stop."""
        journal.progress(done, total, what)

    def keep(found: Rows) -> None:
        rows.extend(found)
        journal.keep(rows)

    tell(0, "ranges")
    inputs = predict.to_input([images.open_rgb(dataset.file(example)) for example in examples], image_size)
    model = models.load(source)
    floats = variants.floats_of(model, cure)
    with composed.cores() as cores:
        # A continued run looks again: that takes little, and all that follows starts from it.
        seen = side_by_side.reaching(
            floats, of_model, inputs, cores, lambda share: tell(int(at_first * share), "ranges")
        )
        for layer in of_model:  # before anything is quantized, which may need a range
            activations.check(seen[layer.name], layer, source.model)
        variant: Any = variants.build(model, variant_name, machine.engine(), cure)
        looked = side_by_side.look(
            model,
            floats,
            variant,
            of_model,
            inputs,
            cores,
            lambda share: tell(at_first + int((first_look - at_first) * share), "both, block by block"),
        )
        answers = sensitivity.Answers(
            looked.exact, predict.truth([example.class_index for example in examples], looked.exact)
        )
        if ("whole", None) not in finished:
            ranges, reached = {}, []
            for layer in of_model:
                linear: Any = floats.get_submodule(layer.name)
                ranges[layer.name] = activations.ranges(seen[layer.name], linear.weight.numpy())
                levels = grid.levels_of(variant.get_submodule(layer.name), linear)
                row = activations.row(layer, seen[layer.name], ranges[layer.name], levels)
                reached.append(row | ({"segments": spec.head_segments} if layer.name == layers.HEAD else {}))
            journal.attach(RANGES, activations.to_bytes(ranges))
            usual = _usual_levels([row["levels"] for row in reached])
            whole = _whole(variant_name, answers, looked.found, usual)
            keep([whole, *reached, *depths.rows(looked.depth)])
        for found in sensitivity.measure(
            floats,
            variant,
            of_model,
            looked.embedded,
            answers,
            cores,
            finished,
            lambda done, what: tell(first_look + done, what),
        ):
            keep(found)
    if ("batch", neighbours.ALONE) not in finished:
        beside = neighbours.measure(variant, inputs, lambda: tell(total - at_last, "neighbours"))
        keep(beside.rows(examples))
    tell(total, "")
    return rows


def ranges_of(content: bytes, layer: str) -> Ranges:
    """One layer's ranges, by its module name, from the attachment RANGES."""
    return activations.from_bytes(content, layer)


def _usual_levels(levels: Sequence[int | None]) -> int:
    """What most layers are given; the engine's own where none is int8. levels: of each layer."""
    found = [one for one in levels if one is not None]
    return max(set(found), key=found.count) if found else grid.levels(machine.engine())


def _whole(variant: str, answers: "Answers", found: "np.ndarray", levels: int) -> dict[str, Any]:
    """The row of the variant as it is. found: its logits."""
    n = len(answers.classes)
    fp32, cost = answers.cost(answers.logits), answers.cost(found)
    row: dict[str, Any] = {"part": "whole", "variant": variant, "n": n}
    for name, share in (("fp32_top1", fp32["top1"]), ("top1", cost["top1"]), ("agree", cost["agree"])):
        interval = statistics.wilson(round(share * n), n)
        row |= {name: interval.share, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row | {
        "kl_nats": cost["kl_nats"],
        "sqnr_db": cost["sqnr_db"],
        "levels": levels,
        "bits": grid.bits(levels),
    }


def _key(row: Any) -> tuple[str, object]:
    """What a row is of: its part, and the layer, group, block or batch where it has one."""
    places = ("layer", "group", "block", "batch")
    return row["part"], next((row[place] for place in places if place in row), None)


def _held_bytes(spec: ModelSpec, image_size: int) -> int:
    """What one picture takes as long as a diagnosis lasts."""
    tokens = 1 + spec.registers + (image_size // spec.patch_size) ** 2
    return 4 * (3 * image_size**2 + 4 * tokens * spec.width)
