"""Predictions on demand, for pages: a process of its own holds torch and the model, the server never does.

It answers a picture of a dataset and stores the answers; or a picture of the visitor's own, of which nothing is
stored; or a picture with the model's weights rounded to a few bits, or with outlier channels planted in it; or
it follows a picture through the blocks. The server asks through the process's standard input and reads the
answer from its standard output, one JSON object a line. The process starts with the first question, keeps the
last model it used, and ends by itself after a while without questions, or with the server.
"""

import base64
import io
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from filelock import Timeout
from PIL import Image

from vitquant import (
    accuracy,
    database,
    datasets,
    digest_cache,
    fits,
    jobs,
    paths,
    predictions,
    runs,
    weights,
)
from vitquant.errors import Busy, VitquantError
from vitquant.follow import Followed, from_plain, to_plain
from vitquant.planted import LevelsLeft

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


@dataclass(frozen=True)
class OwnAnswer:
    """What one variant answers to a picture that is in no dataset."""

    indices: tuple[int, ...]  # the top-5 classes, most probable first
    probabilities: tuple[float, ...]
    seconds: float  # median of a few forward passes of this picture alone


@dataclass(frozen=True)
class PlantedAnswer:
    """What becomes of one picture when a few channels of the model are made louder."""

    channels: tuple[int, ...]  # those that were planted
    fp32: OwnAnswer  # of the model as it is
    planted: OwnAnswer  # of the planted one, in float32
    qint8: OwnAnswer  # of the planted one, quantized
    levels: tuple[LevelsLeft, ...]  # for each layer behind a LayerNorm, in order

    @property
    def worst(self) -> LevelsLeft:
        """The layer whose ordinary channels are left the fewest levels; the first of them."""
        return min(self.levels, key=lambda one: one.left)

    @property
    def median_left(self) -> int:
        """How many levels the ordinary channels are left in the median layer."""
        return statistics.median_low(one.left for one in self.levels)


class PredictionWorker:
    """The server's side: one process, started when needed, one question at a time from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._woken: tuple[str, str, int] | None = None  # what wake() was last asked to load
        self._ready: tuple[str, str, int] | None = None  # what it has loaded
        self.problem: str | None = None  # why it could not be woken, where it could not

    @property
    def is_awake(self) -> bool:
        """Whether the process is there, so that an answer does not wait for torch to be imported."""
        return self._process is not None and self._process.poll() is None

    def predict_picture(
        self,
        *,
        model: str,
        weights: str,
        variants: Iterable[str],
        dataset: str,
        picture: int,
        image_size: int,
    ) -> None:
        """Have every variant answer one picture of a dataset (by ImageFolder's order) and store the answers.

        Raises VitquantError with a sentence where that cannot be done.
        """
        question = {
            "model": model,
            "weights": weights,
            "variants": list(variants),
            "dataset": dataset,
            "picture": picture,
            "image_size": image_size,
        }
        self._answer_to(question)

    def predict_own(
        self,
        *,
        model: str,
        weights: str,
        variants: Iterable[str],
        png: bytes,
        image_size: int,
        dataset: str | None = None,
    ) -> dict[str, OwnAnswer]:
        """What every variant answers to a picture that is in no dataset (an RGB picture as PNG), and how long
        it took. Nothing is stored. dataset: whose calibration calibrated variants take (the model's usual one).
        Raises VitquantError with a sentence where that cannot be done."""
        question = {
            "model": model,
            "weights": weights,
            "variants": list(variants),
            "dataset": dataset,
            "png": base64.b64encode(png).decode(),
            "image_size": image_size,
        }
        return self._own_answers(question)

    def predict_rounded(
        self,
        *,
        model: str,
        weights: str,
        bits: int,
        png: bytes,
        image_size: int,
        per_channel: bool = False,
    ) -> OwnAnswer:
        """What the float32 model answers to a picture with its Linear weights rounded to so many bits
        (rounding.round_linears). Nothing is stored. Raises VitquantError as predict_own does."""
        question = {
            "model": model,
            "weights": weights,
            "bits": bits,
            "per_channel": per_channel,
            "png": base64.b64encode(png).decode(),
            "image_size": image_size,
        }
        [answer] = self._own_answers(question).values()
        return answer

    def predict_planted(
        self, *, model: str, weights: str, channels: int, factor: float, png: bytes, image_size: int
    ) -> PlantedAnswer:
        """What the model answers to a picture with its so many loudest channels scaled by a factor in every
        LayerNorm, and the Linear behind it by the inverse (planted.plant): in float32, and quantized anew.
        Nothing is stored. Raises VitquantError as predict_own does."""
        question = {
            "model": model,
            "weights": weights,
            "planted": channels,
            "factor": factor,
            "png": base64.b64encode(png).decode(),
            "image_size": image_size,
        }
        found = self._answer_to(question)
        answers = _own_answers_of(found)
        return PlantedAnswer(
            tuple(found["channels"]),
            answers["fp32"],
            answers["planted"],
            answers["qint8"],
            tuple(LevelsLeft(**one) for one in found["levels"]),
        )

    def follow(
        self, *, model: str, weights: str, variant: str, dataset: str, png: bytes, image_size: int
    ) -> Followed:
        """One picture followed through fp32 and a variant (follow.follow). Nothing is stored. dataset: whose
        calibration a calibrated variant takes. Raises VitquantError as predict_own does, and where a calibrated
        variant is not calibrated yet."""
        question = {
            "model": model,
            "weights": weights,
            "followed": variant,
            "dataset": dataset,
            "png": base64.b64encode(png).decode(),
            "image_size": image_size,
        }
        return from_plain(self._answer_to(question))

    def wake(self, model: str, weights: str, image_size: int) -> None:
        """Start the process and have it load this model, without waiting for it; does nothing while it is
        being asked something, or once it has this model."""
        of = (model, weights, image_size)
        if self._woken == of and self.is_awake:
            return
        self._woken, self._ready, self.problem = of, None, None
        png = io.BytesIO()
        Image.new("RGB", (64, 64)).save(png, "PNG")

        def ask() -> None:
            try:
                self.predict_rounded(
                    model=model, weights=weights, bits=8, png=png.getvalue(), image_size=image_size
                )
                self._ready = of
            except VitquantError as error:
                self._woken, self.problem = None, str(error)

        threading.Thread(target=ask, daemon=True).start()

    def is_ready(self, model: str, weights: str, image_size: int) -> bool:
        """Whether this model has been loaded, so that an answer takes no longer than the model itself."""
        return self.is_awake and self._ready == (model, weights, image_size)

    def _own_answers(self, question: Mapping[str, Any]) -> dict[str, OwnAnswer]:
        return _own_answers_of(self._answer_to(question))

    def release(self) -> None:
        """End the process and give its memory back; the next question starts a new one."""
        with self._lock:
            if self._process and self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _answer_to(self, question: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            answer = self._ask(question)
        if "error" in answer:
            raise (Busy if answer.get("busy") else VitquantError)(answer["error"])
        return answer

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        # A process that ended while idle is noticed only when it is written to: then try a new one, once.
        for _ in range(2):
            process = self._started()
            assert process.stdin and process.stdout
            try:
                process.stdin.write(json.dumps(question) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            if line:
                return dict(json.loads(line))
            process.wait()
            self._process = None
            if process.returncode < 0:
                break
        return {
            "error": "The process that computes predictions was ended before it could answer, most likely "
            "because memory ran out: free some memory, or choose a smaller model."
        }

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            paths.data_dir().mkdir(parents=True, exist_ok=True)
            with (paths.data_dir() / "worker.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "vitquant.worker"],
                    cwd=paths.PROJECT_ROOT,
                    env=paths.child_environment(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
        return self._process


def _own_answers_of(answer: Mapping[str, Any]) -> dict[str, OwnAnswer]:
    return {
        name: OwnAnswer(tuple(found["indices"]), tuple(found["probabilities"]), found["seconds"])
        for name, found in answer["answers"].items()
    }


def takes_times(db: sqlite3.Connection) -> bool:
    """Whether a run that takes times is under way; one that was killed disturbs nobody."""
    runs.mark_interrupted(db)
    return any(run.kind in jobs.NEEDS_QUIET for run in runs.find(db, states=("running",)))


class _LoadedModel:
    """The process's side: the variants of the last model asked for, so that the next picture is quick."""

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
