"""What every page test needs: a server that remembers nothing, starts no process, and pictures of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st

from tests import drawn
from tests.pages.helpers import MEASURED, WRONG
from vitquant import accuracy, jobs
from vitquant.worker import PredictionWorker


@pytest.fixture(autouse=True)
def alone(no_sample: Path) -> None:
    """Without the sample: these tests' pictures and answers are their own."""


@pytest.fixture(autouse=True)
def fresh_server() -> Iterator[None]:
    """Nothing of another test's server is remembered."""
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither runs nor the worker start: these tests look at the pages."""
    monkeypatch.setattr(jobs, "ensure_dispatcher", lambda queue: None)

    def predict_picture(self: PredictionWorker, **question: object) -> None:
        raise AssertionError(f"the worker was asked {question}")

    monkeypatch.setattr(PredictionWorker, "predict_picture", predict_picture)
    monkeypatch.setattr(PredictionWorker, "wake", lambda self, *of: None)


@pytest.fixture
def pictures(data_dir: Path) -> Path:
    """40 drawn pictures of 5 classes, prepared; nothing measured."""
    root = data_dir / drawn.DATASET / "val"
    drawn.draw_split(root, 8, classes=5)
    return root


@pytest.fixture
def plan(pictures: Path) -> accuracy.Plan:
    """The same, with 30 pictures answered by three variants."""
    return drawn.store_answers(WRONG, limit=MEASURED)
