"""How many calibration pictures are enough: SmoothQuant fitted to few and many, of several seeds, and what each
is worth on pictures that it was not fitted to. Imports no torch until measure() is called.
"""

import sqlite3
from typing import TYPE_CHECKING, Any

from vitquant import bits, calibration, catalog, datasets, images, layers, machine, variants
from vitquant.runs import Rows

if TYPE_CHECKING:
    from vitquant.calibration import Chosen
    from vitquant.request import Journal
    from vitquant.weights import Weights

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)
SEEDS = (0, 1, 2)
ALPHA = 0.5
"""The same for all, so that nothing but the pictures differs."""

USUAL_PICTURES = 256


def chosen(db: sqlite3.Connection, dataset: str, image_size: int) -> "dict[int, Chosen]":
    """The calibration pictures of every seed, as many as the largest count takes. Raises InputError where there
    are no training pictures to calibrate on, or one of them is also evaluated."""
    there = len(datasets.open_dataset(*calibration.source_of(dataset)).examples)
    most = max(count for count in COUNTS if count + calibration.FEWEST <= max(there, 1 + calibration.FEWEST))
    found = {
        seed: calibration.choose(
            db, dataset, image_size, {"pictures": max(most, calibration.FEWEST), "seed": seed}
        )
        for seed in SEEDS
    }
    for of_seed in found.values():
        calibration.check_apart(db, of_seed, dataset)
    return found


def measure(
    source: "Weights",
    dataset_name: str,
    pictures: int,
    image_size: int,
    by_seed: "dict[int, Chosen]",
    journal: "Journal",
) -> Rows:
    """A row for each number of calibration pictures and seed: what SmoothQuant at ALPHA, with a scale for each
    row of the weights, is then worth on the first so many pictures of the evaluation order; shares in 0..1 with
    95% intervals, as judging.Judged.row gives them, and for comparison a row without smoothing (0 pictures).

    What the journal has is not measured again.
    """
    import numpy as np

    from vitquant import activations, composed, judging, models, predict, side_by_side, smoothing
    from vitquant.activations import Seen, ranges
    from vitquant.cure import Cure
    from vitquant.judging import Judge, Pictures

    dataset = bits.opened(source.model, dataset_name, pictures, image_size)
    examples = [dataset.examples[index] for index in datasets.evaluation_order(dataset)[:pictures]]
    engine = machine.engine()
    variants.set_engine(engine)
    rows = [dict(row) for row in journal.rows]
    finished = journal.finished("pictures", "seed")
    model = models.load(source)
    of_model = layers.of(catalog.model(source.model))
    smoothed = [layer for layer in of_model if layer.kind in smoothing.FREE]
    inputs = predict.to_input([images.open_rgb(dataset.file(example)) for example in examples], image_size)
    classes = np.array([example.class_index for example in examples])
    most = max(of.calibration.pictures for of in by_seed.values())
    settings = [(0, 0), *((count, seed) for count in COUNTS if count <= most for seed in by_seed)]
    with composed.cores() as cores:
        fitted = {seed: judging.read(of).fitted_to for seed, of in by_seed.items()}
        judge = Judge(
            model,
            of_model,
            Pictures(inputs[:0], inputs, classes),
            cores,
            has_float16=variants.has_float16(engine),
            random=source.source == "random",
        )
        seen = {seed: side_by_side.reaching(model, smoothed, of, cores) for seed, of in fitted.items()}
        for of in seen.values():
            for layer in smoothed:
                activations.check(of[layer.name], layer, source.model)
        for place, (count, seed) in enumerate(settings):
            if (count, seed) in finished:
                continue
            journal.progress(place, len(settings), f"{count} pictures, seed {seed}")
            scales: dict[str, Any] = {}
            for layer in smoothed if count else ():
                weight: Any = model.get_submodule(layer.name).weight
                some = Seen(seen[seed][layer.name].low[:count], seen[seed][layer.name].high[:count])
                largest = ranges(some, weight.numpy()).act_absmax
                scales[layer.name] = smoothing.scales_of(model, layer.name, largest, ALPHA)
            judged = judge.measure(Cure(smooth=scales, per_channel=True))
            rows.append({"pictures": count, "seed": seed, **judged.row()})
            journal.keep(rows)
    journal.progress(len(settings), len(settings), "")
    return rows
