"""The measurements as requests: they survive JSON, and a stopped one keeps and reuses what was finished."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vitquant import database, jobs, measurements, runs
from vitquant.errors import Cancelled
from vitquant.measurements import AccuracyRequest, BitsRequest, LatencyRequest, ProfileRequest, SizeRequest
from vitquant.request import Request, to_plain

MODEL = ("dinov2_vits14_reg_lc", "random")
REQUESTS: list[Request] = [
    AccuracyRequest(*MODEL, ("fp32",), "tiny-imagenet", 8),
    LatencyRequest(*MODEL, ("fp32", "qint8"), ("1x14", "2x14"), (1,), 0.1),
    SizeRequest(*MODEL, ("fp32", "qint8")),
    ProfileRequest(*MODEL, ("fp32", "qint8"), "1x14", 1),
    BitsRequest(*MODEL, "tiny-imagenet", 8, 14),
]


@pytest.fixture
def db(data_dir: Path) -> Iterator[sqlite3.Connection]:
    with database.opened() as opened:
        yield opened


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.kind)
def test_a_request_survives_json(request_: Request) -> None:
    plain = json.loads(json.dumps(to_plain(request_)))
    assert measurements.from_plain(request_.kind, plain) == request_


def stop_at(part: str) -> Any:
    """A progress callback that stops the run as soon as its message speaks of that part."""

    def stop(done: int, total: int, message: str) -> None:
        if part in message:
            raise Cancelled("enough")

    return stop


@pytest.mark.parametrize(
    ("request_", "stop_before", "part"),
    [
        # Each of its variants is first loaded in a fresh process, which imports torch.
        pytest.param(REQUESTS[1], "2x14", "shape", marks=pytest.mark.slow),
        (REQUESTS[2], "qint8", "variant"),
        (REQUESTS[3], "qint8", "variant"),
    ],
    ids=["latency", "size", "profile"],
)
def test_a_stopped_run_keeps_its_finished_rows_and_measures_only_the_rest(
    db: sqlite3.Connection, request_: Request, stop_before: str, part: str
) -> None:
    with pytest.raises(Cancelled):
        jobs.run_here(db, request_, on_progress=stop_at(stop_before))
    [stopped] = runs.find(db)
    assert stopped.state == "cancelled"
    assert stopped.result
    assert stop_before not in {row[part] for row in stopped.result}
    assert request_.stored(db) is None  # a part is no result

    rows = jobs.run_here(db, request_)
    [continued] = runs.find(db)
    assert (continued.id, continued.state) == (stopped.id, "done")
    assert rows[: len(stopped.result)] == stopped.result  # times would differ, had they been taken again
    assert stop_before in {row[part] for row in rows}
    assert request_.stored(db) == rows
