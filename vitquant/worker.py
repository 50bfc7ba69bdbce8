"""Predictions on demand, for pages: a process of its own holds torch and the model, the server never does.

This is the server's side; vitquant/worker_process.py is the process, and says what can be asked. The server
asks through the process's standard input and reads the answer from its standard output, one JSON object a line.
The process starts with the first question, and ends by itself after a while without any, or with the server.
"""

import base64
import io
import json
import sqlite3
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from vitquant import jobs, paths, runs
from vitquant.errors import Busy, VitquantError
from vitquant.follow import Followed, from_plain
from vitquant.planted import LevelsLeft


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
                    [sys.executable, "-m", "vitquant.worker_process"],
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
