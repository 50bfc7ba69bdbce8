"""Predictions on demand, for pages: a process of its own holds torch and the model, the server never does.

The server asks through the process's standard input and reads the answer from its standard output, one
JSON object a line. The process starts with the first question, keeps the last model it used, and ends by
itself after a while without questions, or with the server.
"""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from vitquant import accuracy, database, paths, predictions, runs
from vitquant.errors import VitquantError

if TYPE_CHECKING:
    from torch import nn

IDLE_S = 300.0
NEEDS_QUIET = ("latency", "profile")
"""Kinds of run that take times: nothing is computed on demand beside them."""


class PredictionWorker:
    """The server's side: one process, started when needed, one question at a time from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

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
        with self._lock:
            answer = self._ask(question)
        if "error" in answer:
            raise VitquantError(answer["error"])

    def release(self) -> None:
        """End the process and give its memory back; the next question starts a new one."""
        with self._lock:
            if self._process and self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process = None

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


class _LoadedModel:
    """The process's side: the variants of the last model asked for, so that the next picture is quick."""

    def __init__(self) -> None:
        self._of: tuple[str, str, int] | None = None  # model, digest of its weights, image size
        self._variants: dict[str, nn.Module] = {}

    def answer(self, db: sqlite3.Connection, question: Mapping[str, Any]) -> None:
        runs.mark_interrupted(db)  # a run that was killed disturbs nobody
        if any(run.kind in NEEDS_QUIET for run in runs.find(db, states=("running",))):
            raise VitquantError(
                "Times are being taken on this machine right now, and a prediction would disturb them: "
                "try again when the run is done."
            )
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
            return self._load(plan, tuple(names))

        accuracy.measure(db, plan, wanted, load=load)

    def _load(self, plan: accuracy.Plan, names: tuple[str, ...]) -> "dict[str, nn.Module]":
        from vitquant.predict import load_for_pass

        digest = plan.series[accuracy.REFERENCE].identity.weights_digest
        of = (plan.weights.model, digest, plan.image_size)
        if self._of != of:
            self._variants, self._of = {}, of
        lacking = [name for name in names if name not in self._variants]
        if lacking:
            self._variants |= load_for_pass(plan.weights, lacking, plan.image_size)
        return {name: self._variants[name] for name in names}


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
                loaded.answer(db, json.loads(line))
        except VitquantError as error:
            answer = {"error": str(error)}
        except Exception as error:  # the page gets a sentence whatever happens; the log has the rest
            sys.excepthook(type(error), error, error.__traceback__)
            answer = {"error": f"The prediction failed unexpectedly ({error}); worker.log says more."}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
