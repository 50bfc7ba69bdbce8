"""The process that makes predictions on demand (vitquant/worker.py is the side that asks).

It answers a picture of a dataset and stores the answers; or a picture of the visitor's own, of which nothing is
stored; or a picture with the model's weights rounded to a few bits, or with outlier channels planted in it; or
it follows a picture through the blocks. It keeps the last model it used.
"""

import base64
import io
import json
import os
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from filelock import Timeout
from PIL import Image

from vitquant import accuracy, database, datasets, digest_cache, fits, jobs, predictions, weights
from vitquant.errors import Busy, VitquantError
from vitquant.follow import to_plain
from vitquant.worker import takes_times

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vitquant.weights import Weights

IDLE_S = 300.0
TIMED_PASSES = 5
MOST_HELD = 12
"""Variants in memory: those of the registry, and a few with settings of their own."""
BUSY = (
    "Times are being taken on this machine right now, and a prediction would disturb them: it has to wait "
    "until the run is done."
)


class _LoadedModel:
    """The variants of the last model asked for, so that the next picture is quick."""

    def __init__(self) -> None:
        self._of: tuple[str, str, int] | None = None  # model, digest of its weights, image size
        self._variants: dict[tuple[str, str], nn.Module] = {}  # by name, and by what it is calibrated on
        self._whole: tuple[tuple[str, str], nn.Module] | None = None  # the variant followed last

    def answer(self, db: sqlite3.Connection, question: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Busy while times are taken. A run that takes times is first marked as running, and then waits
        for what is being computed here."""
        try:
            with jobs.quiet(patience_s=0):
                if takes_times(db):
                    raise Busy(BUSY)
                if "picture" in question:
                    self._store(db, question)
                    return {}
                if "planted" in question:
                    return self._answer_planted(db, question)
                if "followed" in question:
                    return self._follow(db, question)
                return {"answers": self._answer_own(db, question)}
        except Timeout:
            raise Busy(BUSY) from None

    def _store(self, db: sqlite3.Connection, question: Mapping[str, Any]) -> None:
        plan = accuracy.plan(
            db,
            model=question["model"],
            weights_source=question["weights"],
            dataset_name=question["dataset"],
            variants=question["variants"],
            image_size=question["image_size"],
        )
        position = plan.order.index(question["picture"])
        stored = predictions.answers_to(db, [series.id for series in plan.series.values()], question["picture"])
        wanted = {name: [position] for name, series in plan.series.items() if series.id not in stored}

        def load(names: Iterable[str]) -> "Mapping[str, nn.Module]":
            return self._load(db, question, plan.weights, tuple(names))

        accuracy.measure(db, plan, wanted, load=load)

    def _answer_own(self, db: sqlite3.Connection, question: Mapping[str, Any]) -> dict[str, Any]:
        from vitquant import rounding

        source, inputs = _source_and_inputs(question)
        names = tuple(question.get("variants", (accuracy.REFERENCE,)))
        models = self._load(db, question, source, names)
        if "bits" in question:
            rounded = rounding.round_linears(
                models[names[0]], question["bits"], per_channel=question["per_channel"]
            )
            models = {f"{question['bits']} bits": rounded}
        return {name: _timed_answer(model, inputs) for name, model in models.items()}

    def _answer_planted(self, db: sqlite3.Connection, question: Mapping[str, Any]) -> dict[str, Any]:
        from vitquant import grid, machine, planted, variants

        source, inputs = _source_and_inputs(question)
        model: Any = self._load(db, question, source, (accuracy.REFERENCE,))[accuracy.REFERENCE]
        channels = planted.loudest(model, question["planted"])
        loud = planted.plant(model, channels, question["factor"])
        engine = machine.engine()
        levels = planted.levels_left(loud, inputs, channels, grid.levels(engine))
        models = {"fp32": model, "planted": loud, "qint8": variants.build(loud, "qint8", engine)}
        return {
            "channels": channels,
            # Somebody waits with a hand on the slider: one pass each tells the answer.
            "answers": {name: _timed_answer(one, inputs, passes=1) for name, one in models.items()},
            "levels": [asdict(one) for one in levels],
        }

    def _follow(self, db: sqlite3.Connection, question: Mapping[str, Any]) -> dict[str, Any]:
        from vitquant import follow, machine, variants

        source, inputs = _source_and_inputs(question)
        model: Any = self._load(db, question, source, (accuracy.REFERENCE,))[accuracy.REFERENCE]
        name = question["followed"]
        # _load() traces a variant that takes one picture at a time; what is traced has no blocks to look at.
        of = source, (name,), question["dataset"], question["image_size"]
        held = (name, fits.keys(db, *of).get(name, ""))
        if self._whole is None or self._whole[0] != held:
            cures = fits.stored_cures(db, *of)
            self._whole = (held, variants.build(model, name, machine.engine(), cures.get(name)))
        variant: Any = self._whole[1]
        return to_plain(follow.follow(model, variant, inputs))

    def _load(
        self, db: sqlite3.Connection, question: Mapping[str, Any], source: "Weights", names: tuple[str, ...]
    ) -> "dict[str, nn.Module]":
        from vitquant.predict import load_for_pass

        image_size, dataset = question["image_size"], question.get("dataset") or datasets.usual(source.model)
        of = (source.model, digest_cache.of_weights(db, source), image_size)
        if self._of != of:
            self._variants, self._of, self._whole = {}, of, None
        keys = fits.keys(db, source, names, dataset, image_size)
        held = {name: (name, keys.get(name, "")) for name in names}
        lacking = [name for name in names if held[name] not in self._variants]
        if lacking:
            cures = fits.stored_cures(db, source, lacking, dataset, image_size)
            loaded = load_for_pass(source, lacking, image_size, cures)
            self._variants |= {held[name]: model for name, model in loaded.items()}
        found = {name: self._variants[held[name]] for name in names}
        for oldest in list(self._variants)[: max(0, len(self._variants) - MOST_HELD)]:
            del self._variants[oldest]
        return found


def _source_and_inputs(question: Mapping[str, Any]) -> "tuple[Weights, torch.Tensor]":
    """Where the model's weights are, and the question's picture as the model takes it."""
    from vitquant import predict

    source = weights.resolve(question["model"], question["weights"])
    if not weights.is_here(source):
        raise VitquantError(f"The weights of {source.model} are no longer here: choose others in the sidebar.")
    with Image.open(io.BytesIO(base64.b64decode(question["png"]))) as picture:
        return source, predict.to_input([picture.convert("RGB")], question["image_size"])


def _timed_answer(model: "nn.Module", inputs: "torch.Tensor", *, passes: int = TIMED_PASSES) -> dict[str, Any]:
    from vitquant import predict

    predict.logits_of(model, inputs)  # warm-up
    seconds = []
    for _ in range(passes):
        begun = time.perf_counter()
        logits = predict.logits_of(model, inputs)
        seconds.append(time.perf_counter() - begun)
    indices, probabilities = predict.top_k(logits, predictions.TOP)
    return {
        "indices": indices[0].tolist(),
        "probabilities": probabilities[0].tolist(),
        "seconds": statistics.median(seconds),
    }


def serve() -> None:
    """Answer questions from standard input until it ends, or nothing is asked for IDLE_S seconds."""
    # Whatever a library prints must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    loaded = _LoadedModel()
    while True:
        idle = threading.Timer(IDLE_S, os._exit, (0,))
        idle.daemon = True
        idle.start()
        line = sys.stdin.readline()
        idle.cancel()
        if not line:
            return
        answer: dict[str, Any] = {}
        try:
            with database.opened() as db:
                answer = loaded.answer(db, json.loads(line))
        except VitquantError as error:
            answer = {"error": str(error), "busy": isinstance(error, Busy)}
        except Exception as error:  # the page gets a sentence whatever happens; the log has the rest
            sys.excepthook(type(error), error, error.__traceback__)
            answer = {"error": f"The prediction failed unexpectedly ({error}); worker.log says more."}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
