"""Accuracy: what share of a dataset's pictures each variant gets right, against the truth and against fp32.

Pictures go in the evaluation order. Batches are committed in it as they are measured, so that a run cut short
loses only those in flight (one a core, and one more), and a longer run extends a shorter one. The results
are read back from the stored predictions; nothing here imports torch until something has to be measured.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitquant import datasets, digest_cache, images, machine, predictions, statistics, weights
from vitquant.catalog import check_image_size
from vitquant.datasets import Dataset
from vitquant.errors import InputError
from vitquant.predictions import Identity, Prediction, Series
from vitquant.variants import check_available, recipe

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

REFERENCE = "fp32"

BATCH = 8
"""Pictures in a batch. Part of what a float32 answer's last bits depend on, hence the same everywhere."""

Progress = Callable[[int, int], None]
Load = Callable[[Iterable[str]], "Mapping[str, nn.Module]"]
Wanted = dict[str, list[int]]  # positions to measure, by variant


@dataclass(frozen=True)
class Plan:
    """What is measured on what: a dataset in its order, and each variant's series in the store."""

    weights: weights.Weights
    dataset: Dataset
    order: Sequence[int]  # pictures by position
    image_size: int
    series: Mapping[str, Series]  # by variant; fp32, which the others are compared with, always among them

    def example(self, position: int) -> datasets.Example:
        return self.dataset.examples[self.order[position]]

    def count(self, limit: int | None) -> int:
        """How many pictures a run with that limit takes."""
        if limit is not None and limit < 1:
            raise InputError(f"A limit of {limit} leaves nothing to measure: take 1 or more.")
        return min(limit or len(self.order), len(self.order))


def plan(
    db: sqlite3.Connection,
    *,
    model: str,
    weights_source: str,
    dataset_name: str,
    variants: Sequence[str],
    image_size: int,
    split: str = "val",
) -> Plan:
    """Find out what exactly would be measured, and where its answers are stored. Imports no torch.

    Raises InputError where the model, weights, dataset, a variant or the size cannot be used.
    """
    check_image_size(image_size)
    engine = machine.engine()
    wanted = check_available(tuple(dict.fromkeys([REFERENCE, *variants])), engine)
    source = weights.resolve(model, weights_source)
    dataset = datasets.open_dataset(dataset_name, split)
    order = datasets.evaluation_order(dataset)
    dataset_digest = digest_cache.of_dataset(db, dataset)
    weights_digest = digest_cache.of_weights(db, source)
    dataset_id = predictions.register_dataset(db, dataset, dataset_digest, order)
    environment = machine.environment()
    series = {}
    for name in wanted:
        identity = Identity(
            model=model,
            weights=source.label,
            weights_digest=weights_digest,
            variant=name,
            recipe_version=recipe(name).version,
            engine=engine if recipe(name).uses_engine else "torch",
            cpu_features=", ".join(machine.cpu_features()),
            torch_version=machine.version_of("torch"),
            dataset=dataset.name,
            split=dataset.split,
            dataset_digest=dataset_digest,
            image_size=image_size,
        )
        series[name] = predictions.begin_series(db, identity, dataset_id, environment)
    return Plan(source, dataset, order, image_size, series)


def missing(db: sqlite3.Connection, plan: Plan, n: int) -> Wanted:
    """Which of the first n positions are still to be measured, by variant; nothing where all are stored."""
    found = {name: predictions.missing_positions(db, series.id, n) for name, series in plan.series.items()}
    return {name: positions for name, positions in found.items() if positions}


def measure(
    db: sqlite3.Connection,
    plan: Plan,
    wanted: Wanted,
    on_progress: Progress | None = None,
    load: Load | None = None,
) -> None:
    """Measure and store the answers wanted, batch by batch in the evaluation order.

    Every core runs its own batch on one thread: that keeps them busy through the Python between layers,
    and through the variants that take one picture at a time. A batch always has the same BATCH slots, each
    picture in the one that its position gives it and empty ones left zero, so that an answer does not
    depend, not even in its last bit, on where an earlier run stopped.

    on_progress(done, total) counts pictures, each once for all variants; it may raise Cancelled. load gives
    the models by variant, where they are in memory already.
    """
    import torch

    from vitquant.predict import load_for_pass

    if not wanted:
        return
    threads = machine.default_threads()
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads)
    try:
        models = load(wanted) if load else load_for_pass(plan.weights, wanted, plan.image_size)
        batches = list(_batches(wanted))
        total = sum(len(_positions(batch)) for batch in batches)
        done = 0
        if on_progress:
            on_progress(0, total)
        waiting: deque[tuple[Wanted, Future[dict[int, list[Prediction]]]]] = deque()
        upcoming = iter(batches)
        while True:
            while len(waiting) <= threads and (batch := next(upcoming, None)):
                reference = _stored_reference(db, plan, batch)
                waiting.append((batch, pool.submit(_answer, plan, models, batch, reference)))
            if not waiting:
                break
            batch, future = waiting.popleft()
            predictions.add_predictions(db, future.result())
            done += len(_positions(batch))
            if on_progress:
                on_progress(done, total)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads_before)


def rows(db: sqlite3.Connection, plan: Plan, variants: Sequence[str], n: int) -> list[dict[str, Any]]:
    """The results on the first n pictures, one row a variant, from the stored predictions.

    Shares in 0..1 with Wilson 95% intervals; against fp32 on the same pictures: broken, fixed, the exact
    McNemar p, the mean KL divergence in nats.
    """
    reference = plan.series[REFERENCE]
    return [accuracy_row(db, plan.series[name], reference, n) for name in variants]


def accuracy_row(
    db: sqlite3.Connection, series: Series, reference: Series | None, n: int | None = None
) -> dict[str, Any]:
    """One variant's result on the first n positions, or on all that are measured; see rows()."""
    tally = predictions.tally(db, series.id, n)
    top1 = statistics.wilson(tally.top1, tally.n)
    top5 = statistics.wilson(tally.top5, tally.n)
    row: dict[str, Any] = {
        "variant": series.identity.variant,
        "n": tally.n,
        "top1": top1.share,
        "top5": top5.share,
        "top1_low": top1.low,
        "top1_high": top1.high,
        "top5_low": top5.low,
        "top5_high": top5.high,
        "broken": None,
        "fixed": None,
        "mcnemar_p": None,
        "mean_kl_nats": None,
    }
    if reference and reference.id != series.id:
        paired = predictions.paired(db, reference.id, series.id, n)
        row |= {
            "broken": paired.broken,
            "fixed": paired.fixed,
            "mcnemar_p": statistics.mcnemar(paired.broken, paired.fixed),
            "mean_kl_nats": tally.mean_kl_nats,
        }
    return row


def _batches(wanted: Wanted) -> Iterator[Wanted]:
    """The positions wanted, cut at every BATCH-th position: by variant, in the evaluation order."""
    starts = sorted({position // BATCH for positions in wanted.values() for position in positions})
    by_start: dict[int, Wanted] = {start: {} for start in starts}
    for name, positions in wanted.items():
        for position in positions:
            by_start[position // BATCH].setdefault(name, []).append(position)
    yield from by_start.values()


def _positions(batch: Wanted) -> list[int]:
    return sorted({position for positions in batch.values() for position in positions})


def _stored_reference(db: sqlite3.Connection, plan: Plan, batch: Wanted) -> "dict[int, np.ndarray]":
    """fp32's logits for the positions that other variants want and fp32 has already answered."""
    to_come = set(batch.get(REFERENCE, ()))
    return predictions.logits(db, plan.series[REFERENCE].id, [p for p in _positions(batch) if p not in to_come])


def _answer(
    plan: Plan, models: "Mapping[str, nn.Module]", batch: Wanted, reference: "dict[int, np.ndarray]"
) -> dict[int, list[Prediction]]:
    """Decode a batch once and run every variant that wants it; the answers by series id."""
    import numpy as np
    import torch

    from vitquant import predict

    torch.set_num_threads(1)  # holds for this thread
    positions = _positions(batch)
    pictures = [images.open_rgb(plan.dataset.file(plan.example(position))) for position in positions]
    inputs = torch.zeros(BATCH, 3, plan.image_size, plan.image_size)
    inputs[[position % BATCH for position in positions]] = predict.to_input(pictures, plan.image_size)
    reference = dict(reference)
    answers = {}
    for name in [n for n in plan.series if n in batch]:  # fp32 first: the others are compared with it
        wanted = batch[name]
        slots = [position % BATCH for position in wanted]
        if recipe(name).batch_dependent:
            logits = predict.logits_of(models[name], inputs[slots], one_by_one=True)
        else:
            logits = predict.logits_of(models[name], inputs)[slots]
        if name == REFERENCE:
            reference |= dict(zip(wanted, logits, strict=True))
        indices, probabilities = predict.top_k(logits, predictions.TOP)
        classes = [plan.example(position).class_index for position in wanted]
        ranks = predict.true_ranks(logits, classes)
        true_probabilities = predict.probabilities_of(logits, classes)
        divergences = predict.kl_nats(np.stack([reference[position] for position in wanted]), logits)
        answers[plan.series[name].id] = [
            Prediction(
                position=position,
                indices=tuple(int(i) for i in indices[row]),
                probabilities=tuple(float(p) for p in probabilities[row]),
                true_rank=int(ranks[row]),
                true_probability=float(true_probabilities[row]),
                kl_nats=float(divergences[row]),
                logits=logits[row] if name == REFERENCE else None,
            )
            for row, position in enumerate(wanted)
        ]
    return answers
