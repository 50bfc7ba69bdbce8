"""Weights at 8 down to 2 bits, simulated: what size they would have, how far they are off, and how often the
model still answers as fp32 does. Measured by running the requantized model on stored pictures.

Weight-only: activations stay in float32, so this is the best that so few bits can do with evenly spaced values
(symmetric, round to nearest, no calibration). Imports no torch until measure() is called.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING, Any

from vitquant import catalog, datasets, images, machine, rounding, statistics
from vitquant.accuracy import REFERENCE
from vitquant.datasets import Dataset, Example
from vitquant.errors import InputError
from vitquant.runs import Rows

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import nn

    from vitquant.request import Journal
    from vitquant.weights import Weights

SIMULATED = (
    "Simulated weight-only quantization: only the weights of Linear layers are rounded, in float32; "
    "activations stay as they are. Nothing here runs faster, and no file of this size is written."
)

USUAL_PICTURES = 256

TENSOR, CHANNEL = "tensor", "channel"
GRANULARITIES = {
    # what shares one scale -> as people say it
    TENSOR: "per tensor",
    CHANNEL: "per channel",
}
ORIGINAL = "none"
"""The granularity of fp32's own row: nothing is rounded."""

SETTINGS = tuple(product(range(rounding.MOST_BITS, rounding.FEWEST_BITS - 1, -1), GRANULARITIES))
"""What is measured besides fp32: bits, and what shares one scale."""

BATCH = 16


def opened(model: str, dataset_name: str, pictures: int, image_size: int) -> Dataset:
    """The dataset to measure on; InputError where it is not here, or the number of pictures or their size
    cannot be used, by this model."""
    catalog.check_image_size(image_size, model)
    if pictures < 1:
        raise InputError(f"{pictures} pictures leave nothing to measure: take 1 or more.")
    return datasets.open_dataset(dataset_name)


def setting_title(bits: int, granularity: str) -> str:
    """What a row is of, in words."""
    return REFERENCE if granularity == ORIGINAL else f"{bits} bits, {GRANULARITIES[granularity]}"


def measure(source: "Weights", dataset: Dataset, pictures: int, image_size: int, journal: "Journal") -> Rows:
    """One row for fp32, and one for each of SETTINGS: a copy of the model with its weights rounded, run on the
    first so many pictures of the evaluation order (all of them where there are fewer).

    size_bytes is computed (rounding.simulated_bytes), sqnr_db over all Linear weights; agree is the share of
    the n pictures to which the first answer is fp32's, top1 of those it has right, both 0..1 with Wilson's 95%
    intervals; mean_kl_nats is KL(fp32 || rounded) over all classes. Pictures are decoded once and fp32 answers
    once; there are two models in memory at most. What the journal has is not measured again.
    """
    import torch

    from vitquant import models

    rows = [dict(row) for row in journal.rows]
    finished = journal.finished("bits", "granularity")
    examples = [dataset.examples[index] for index in datasets.evaluation_order(dataset)[:pictures]]

    def tell(done: int, what: str) -> Callable[[], None]:
        """To be called now and then: the journal may ask to stop."""
        return lambda: journal.progress(done, len(SETTINGS), what)

    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(machine.default_threads())
    try:
        fp32 = tell(len(finished & set(SETTINGS)), REFERENCE)
        fp32()
        decoded = [images.open_rgb(dataset.file(example)) for example in examples]
        model = models.load(source)
        reference = _logits(pool, model, decoded, image_size, fp32)
        if (rounding.ORIGINAL_BITS, ORIGINAL) not in finished:
            size = rounding.simulated_bytes(model, rounding.ORIGINAL_BITS)
            rows.append(_row(rounding.ORIGINAL_BITS, ORIGINAL, size, None, examples, reference, reference))
            journal.keep(rows)
        for place, (bits, granularity) in enumerate(SETTINGS):
            if (bits, granularity) in finished:
                continue
            per_channel = granularity == CHANNEL
            rounded = rounding.round_linears(model, bits, per_channel=per_channel)
            setting = tell(place, setting_title(bits, granularity))
            logits = _logits(pool, rounded, decoded, image_size, setting)
            size = rounding.simulated_bytes(model, bits, per_channel=per_channel)
            error = rounding.sqnr_db(model, rounded)
            rows.append(_row(bits, granularity, size, error, examples, reference, logits))
            journal.keep(rows)
            del rounded  # one copy in memory at a time
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads_before)
    journal.progress(len(SETTINGS), len(SETTINGS), "")
    return rows


def _logits(
    pool: ThreadPoolExecutor,
    model: "nn.Module",
    pictures: "Sequence[Image.Image]",
    image_size: int,
    tell: Callable[[], None],
) -> "np.ndarray":
    """A model's logits, (n, 1000). Every core runs its own batch on one thread, as in an accuracy pass: it need
    not wait for the others, which something else may keep busy. tell: called for each batch."""
    import numpy as np
    import torch

    from vitquant import predict

    def answer(start: int) -> "np.ndarray":
        torch.set_num_threads(1)  # holds for this thread
        # Resized for each model anew: at a large image size all inputs together would not fit into memory.
        return predict.logits_of(model, predict.to_input(pictures[start : start + BATCH], image_size))

    answers = []
    for logits in pool.map(answer, range(0, len(pictures), BATCH)):
        tell()
        answers.append(logits)
    return np.concatenate(answers)


def _row(
    bits: int,
    granularity: str,
    size_bytes: int,
    error_db: float | None,
    examples: Sequence[Example],
    reference: "np.ndarray",
    logits: "np.ndarray",
) -> dict[str, Any]:
    """One setting's result. reference: fp32's logits on the same pictures."""
    from vitquant import predict

    n = len(examples)
    classes = predict.truth([example.class_index for example in examples], reference)
    firsts, fp32s = (predict.top_k(of, 1)[0][:, 0] for of in (logits, reference))
    agree = statistics.wilson(int((firsts == fp32s).sum()), n)
    top1 = statistics.wilson(int((firsts == classes).sum()), n)
    return {
        "bits": bits,
        "granularity": granularity,
        "size_bytes": size_bytes,
        "sqnr_db": error_db,
        "n": n,
        "agree": agree.share,
        "agree_low": agree.low,
        "agree_high": agree.high,
        "top1": top1.share,
        "top1_low": top1.low,
        "top1_high": top1.high,
        "mean_kl_nats": float(predict.kl_nats(reference, logits).mean()),
    }
