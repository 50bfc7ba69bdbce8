"""Accuracy: what share of a dataset's pictures each variant gets right, against the truth and against fp32.

Pictures without labels have fp32's first answer for their class: a variant's accuracy is then its agreement
with fp32.

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

from vitquant import (
    catalog,
    datasets,
    digest_cache,
    fits,
    images,
    machine,
    predictions,
    sequential,
    statistics,
    weights,
)
from vitquant.datasets import Dataset
from vitquant.errors import InputError
from vitquant.predictions import Identity, Prediction, Series
from vitquant.sequential import Look
from vitquant.variants import check_available, recipe

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

REFERENCE = "fp32"
INT8 = "qint8"
"""The notebook's int8: what breaks, and what the cures are compared with."""

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
    catalog.check_image_size(image_size, model)
    engine = machine.engine()
    wanted = check_available(tuple(dict.fromkeys([REFERENCE, *variants])), engine)
    source = weights.resolve(model, weights_source)
    dataset = datasets.open_dataset(dataset_name, split)
    order = datasets.evaluation_order(dataset)
    dataset_digest = digest_cache.of_dataset(db, dataset)
    weights_digest = digest_cache.of_weights(db, source)
    dataset_id = predictions.register_dataset(db, dataset, dataset_digest, order)
    environment = machine.environment()
    calibrations = fits.keys(db, source, wanted, dataset_name, image_size)
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
            calibration=calibrations.get(name, ""),
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
    the models by variant, where they are in memory already. Where fp32 has not answered a picture yet, it does
    so along with the others, which are compared with it.
    """
    import torch

    if not wanted:
        return
    wanted = _with_reference(db, plan, wanted)
    load = load or _loading(db, plan)
    threads = machine.default_threads()
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads)
    try:
        models = load(wanted)
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


def measure_until_sure(
    db: sqlite3.Connection,
    plan: Plan,
    last: int,
    on_progress: Progress | None = None,
    load: Load | None = None,
) -> None:
    """Measure every variant until it is settled, or up to the last picture: see vitquant/sequential.py.

    A settled variant is measured no further; fp32 goes on while another does. on_progress(done, last) counts
    the pictures in order that every variant still measured has answered.
    """
    loaded: dict[str, nn.Module] = {}
    load_fresh = load or _loading(db, plan)

    def load_once(names: Iterable[str]) -> "Mapping[str, nn.Module]":
        loaded.update(load_fresh([name for name in names if name not in loaded]))
        return loaded

    while True:
        ahead = {
            name: sequential.next_look(of_variant, last)
            for name, of_variant in looks_taken(db, plan, last).items()
        }
        look = min((n for n in ahead.values() if n is not None), default=None)
        if look is None:
            return
        for name in [name for name in loaded if ahead.get(name, look) is None]:
            del loaded[name]  # settled: its memory is free for the others
        wanted = {
            name: positions
            for name, positions in missing(db, plan, look).items()
            if name == REFERENCE or ahead[name] == look
        }
        before = look - len({position for positions in wanted.values() for position in positions})

        def report(done: int, _: int, before: int = before) -> None:
            if on_progress:
                on_progress(before + done, last)

        measure(db, plan, wanted, report, load_once)


def calibrate(db: sqlite3.Connection, plan: Plan, names: Iterable[str], progress: fits.Progress) -> None:
    """See that those of these variants that are calibrated have been; progress(done, total, what) as theirs."""
    fits.obtain(db, plan.weights, names, plan.dataset.name, plan.image_size, progress)


def _loading(db: sqlite3.Connection, plan: Plan) -> Load:
    """What loads a plan's variants where nobody has them in memory."""

    def load(names: Iterable[str]) -> "Mapping[str, nn.Module]":
        from vitquant.predict import load_for_pass

        wanted = list(names)
        if not wanted:
            return {}
        cures = fits.cures(db, plan.weights, wanted, plan.dataset.name, plan.image_size)
        return load_for_pass(plan.weights, wanted, plan.image_size, cures)

    return load


def looks_taken(db: sqlite3.Connection, plan: Plan, last: int) -> dict[str, list[Look]]:
    """The looks taken so far at each variant but fp32, from what is stored of the first `last` pictures."""
    return looks_of_series(db, plan.series, last)


def looks_of_series(db: sqlite3.Connection, series: Mapping[str, Series], last: int) -> dict[str, list[Look]]:
    """The same for series by variant, fp32's among them: the others are compared with it."""
    compared = [name for name in series if name != REFERENCE]
    error = sequential.error_per_look(last, len(compared))
    answered = {name: predictions.without_gap(db, one.id) for name, one in series.items()}
    found = {}
    for name in compared:

        def pairs(n: int, name: str = name) -> tuple[int, int] | None:
            if min(answered[name], answered[REFERENCE]) < n:
                return None
            paired = predictions.paired(db, series[REFERENCE].id, series[name].id, n)
            return paired.broken, paired.fixed

        found[name] = sequential.taken(pairs, last, error)
    return found


def rows(db: sqlite3.Connection, plan: Plan, variants: Sequence[str], n: int) -> list[dict[str, Any]]:
    """The results on the first n pictures, one row a variant, from the stored predictions.

    Shares in 0..1 with Wilson 95% intervals; against fp32 on the same pictures: broken, fixed, the exact
    McNemar p, the difference of top-1 with its 95% interval, the mean KL divergence in nats. Where the pictures
    have no labels, "agreement_with" says whose answers stand for them.
    """
    reference = plan.series[REFERENCE]
    return [accuracy_row(db, plan.series[name], reference, n) for name in variants]


def settled_rows(
    db: sqlite3.Connection, plan: Plan, variants: Sequence[str], last: int
) -> list[dict[str, Any]] | None:
    """The results of a run until sure, each variant on as many pictures as it took to settle; None while one
    is still to be measured. As rows() has them, but the difference's interval is wrong only with the
    probability that one look may spend ("difference_error"), and "conclusion" says what was concluded."""
    found = looks_taken(db, plan, last)
    if any(sequential.next_look(of_variant, last) is not None for of_variant in found.values()):
        return None
    most = max(of_variant[-1].n for of_variant in found.values())
    result = []
    for name in variants:
        if name == REFERENCE:
            result.append(accuracy_row(db, plan.series[REFERENCE], None, most))
            continue
        end = found[name][-1]
        row = accuracy_row(db, plan.series[name], plan.series[REFERENCE], end.n)
        result.append(row | as_settled(end, sequential.error_per_look(last, len(found))))
    return result


def as_settled(look: Look, error: float) -> dict[str, Any]:
    """What a look adds to an accuracy row, in place of the 95% interval."""
    return {
        "difference_low": look.difference.low,
        "difference_high": look.difference.high,
        "difference_error": error,
        "conclusion": look.conclusion,
    }


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
        "difference": None,
        "difference_low": None,
        "difference_high": None,
        "difference_error": None,
        "mean_kl_nats": None,
        "conclusion": None,
    }
    if reference and reference.id != series.id:
        paired = predictions.paired(db, reference.id, series.id, n)
        difference = statistics.paired_difference(paired.broken, paired.fixed, paired.n)
        row |= {
            "broken": paired.broken,
            "fixed": paired.fixed,
            "mcnemar_p": statistics.mcnemar(paired.broken, paired.fixed),
            "difference": difference.share,
            "difference_low": difference.low,
            "difference_high": difference.high,
            "difference_error": 0.05,
            "mean_kl_nats": tally.mean_kl_nats,
        }
    if not predictions.has_labels(db, series.dataset_id):
        row["agreement_with"] = REFERENCE
    return row


def _with_reference(db: sqlite3.Connection, plan: Plan, wanted: Wanted) -> Wanted:
    """What is wanted, and fp32's answers to those pictures of which no logits of its are stored."""
    stored = predictions.positions_with_logits(db, plan.series[REFERENCE].id)
    lacking = set(_positions(wanted)) - stored
    if not lacking:
        return wanted
    return {**wanted, REFERENCE: sorted(lacking.union(wanted.get(REFERENCE, ())))}


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
        compared_with = np.stack([reference[position] for position in wanted])
        classes = predict.truth([plan.example(position).class_index for position in wanted], compared_with)
        ranks = predict.true_ranks(logits, classes)
        true_probabilities = predict.probabilities_of(logits, classes)
        divergences = predict.kl_nats(compared_with, logits)
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
