"""Carries an export out: builds the variant, writes the file, loads it again, compares, and packs what is given
away.

Only a file that has stood the test gets its final name.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from vitquant import (
    catalog,
    datasets,
    exports,
    fits,
    formats,
    images,
    machine,
    model_card,
    models,
    paths,
    predict,
    room,
    runs,
    statistics,
    variants,
    weights,
)
from vitquant.accuracy import REFERENCE
from vitquant.digests import sha256_of
from vitquant.errors import VitquantError
from vitquant.formats import Format
from vitquant.measurements import ExportRequest
from vitquant.request import to_plain

STEPS = 5
FAITHFUL = 0.01
"""A file whose answers should be its variant's own, and differ on more than this share of the pictures, is
broken. (Another runtime's rounding may tip a picture between two classes that are equally likely.)"""


def carry_out(
    db: sqlite3.Connection, request: ExportRequest, progress: Callable[[int, int, str], None]
) -> dict[str, Any]:
    """Make the archive under data/exports and return the run's row. Leaves no partial file, whatever happens.

    Raises InputError where there is no room, VitquantError where the file cannot be written or fails its test.
    """
    spec, wanted = catalog.model(request.model), formats.format_of(request.format)
    [variant] = request.variants
    source = weights.resolve(request.model, request.weights)
    room.check_memory(request.model, request.format)
    # The weights, and the archive that they are copied into; ONNX's int8 is made from a float32 file.
    room.check_disk(paths.exports_dir(), 2 * 4 * spec.parameters, "Making this file")

    progress(0, STEPS, "loading the model")
    dataset = exports.opened(request.dataset, request.pictures)
    order = datasets.evaluation_order(dataset)[: request.pictures]
    examples = [dataset.examples[picture] for picture in order]
    files = [dataset.file(example) for example in examples]
    model = models.load(source)
    engine = machine.engine()
    cures = fits.cures(
        db,
        source,
        request.variants,
        request.dataset,
        request.image_size,
        lambda done, total, what: progress(0, STEPS, what),
    )
    built = variants.build(model, variant, engine, cures.get(variant))

    progress(1, STEPS, f"{variant} answers {len(files):,} pictures")
    reference = _answers(built, files, request.image_size)
    # What its answers are worth, whether or not the file gives the same.
    original = reference if variant == REFERENCE else _answers(model, files, request.image_size)
    classes = predict.truth([example.class_index for example in examples], original)

    with exports.making() as folder:
        progress(2, STEPS, f"writing {wanted.title}")
        exports.write(folder, built, spec, request.format, image_size=request.image_size, engine=engine)
        del model, built  # the file alone is to answer now, and may need the memory
        progress(3, STEPS, f"the file, loaded again in {wanted.runtime}, answers the same pictures")
        answers = exports.answers_of(folder, files)
        proof = exports.compare(reference, answers)
        _check(proof, wanted)
        written = [file for file in folder.iterdir() if file.name.startswith(wanted.weights_file)]
        row = {
            "variant": variant,
            "format": request.format,
            "file": _place(request, db).as_posix(),
            "weights_bytes": sum(file.stat().st_size for file in written),
            **asdict(proof),
            **_right(answers, classes),
            "reference_top1": _right(reference, classes)["top1"],
            "fp32_top1": _right(original, classes)["top1"],
            "compared_with": REFERENCE if wanted.converts else variant,
            "runtime": f"{wanted.runtime} {formats.runtime_version(request.format)}",
        }
        progress(4, STEPS, "writing the model card and packing")
        exports.seal(folder, model_card.text(db, request, row))
        made = folder.parent / Path(row["file"]).name
        exports.pack(folder, made)
        row |= {"file_bytes": made.stat().st_size, "sha256": sha256_of(made)}
        file = paths.exports_dir() / row["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        made.replace(file)
    progress(STEPS, STEPS, "")
    return row


def _answers(model: nn.Module, files: Sequence[Path], image_size: int) -> np.ndarray:
    """The logits for each picture by itself, as the exported file's own code takes them: (N, 1000) float32."""
    found = []
    for file in files:  # one by one: many large pictures together may not fit the memory
        found.append(predict.logits_of(model, predict.to_input([images.open_rgb(file)], image_size)))
    return np.concatenate(found)


def _check(proof: exports.Proof, wanted: Format) -> None:
    if not wanted.converts and proof.disagreements > max(1, FAITHFUL * proof.n):
        raise VitquantError(
            f"The file was made, but loaded again it answers {proof.disagreements:,} of {proof.n:,} pictures "
            "otherwise than the variant that it was made from, so it is not offered. Please report this with "
            "the versions that `python -m pip list` prints."
        )


def _right(logits: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    ranks = predict.true_ranks(logits, classes)
    found = statistics.wilson(int((ranks == 1).sum()), len(classes))
    return {"top1": found.share, "top1_low": found.low, "top1_high": found.high}


def _place(request: ExportRequest, db: sqlite3.Connection) -> Path:
    """Below data/exports: a folder for this request under these conditions, and the archive's name."""
    key = runs.run_key(request.kind, to_plain(request), request.identity(db))
    [variant] = request.variants
    name = exports.archive_name(request.model, request.weights, variant, request.format, request.image_size)
    return Path(key[:12]) / name
