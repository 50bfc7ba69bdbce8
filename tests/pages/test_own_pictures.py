"""Somebody's own pictures on the pages: with labels as any others, without them as agreement with fp32."""

import json
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests import drawn
from tests.pages.helpers import html_of, opened, text_of, visit
from vitquant import accuracy, browse, database, gallery, own_pictures, predictions, report
from vitquant.predictions import Prediction

FP32, OTHER = 951, 950
N = 6
CHANGED = {1, 4}
WHERE = {"model": drawn.MODEL, "weights": "random", "dataset": "photos"}


def answer(position: int, first: int, rank: int) -> Prediction:
    second = OTHER if first == FP32 else FP32
    return Prediction(
        position=position,
        indices=(first, second, 1, 2, 3),
        probabilities=(0.9, 0.05, 0.02, 0.01, 0.005),
        true_rank=rank,
        true_probability=0.9 if rank == 1 else 0.05,
        kl_nats=0.1,
        logits=np.zeros(1000, dtype="<f4"),
    )


@pytest.fixture
def unlabelled(data_dir: Path, tmp_path: Path) -> accuracy.Plan:
    """Six pictures without labels, of which qint8 answers two otherwise than fp32."""
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(N):
        drawn.draw("n07749582", number).save(root / f"{number}.png")
    own_pictures.add("photos", root)
    with database.opened() as db:
        plan = accuracy.plan(
            db,
            model=drawn.MODEL,
            weights_source="random",
            dataset_name="photos",
            variants=["fp32", "qint8"],
            image_size=70,
        )
        predictions.add_predictions(
            db,
            {
                plan.series["fp32"].id: [answer(position, FP32, 1) for position in range(N)],
                plan.series["qint8"].id: [
                    answer(position, OTHER, 2) if position in CHANGED else answer(position, FP32, 1)
                    for position in range(N)
                ],
            },
        )
    return plan


def says_agreement(at: AppTest) -> bool:
    return "These pictures have no labels" in text_of(at) and not at.error and not at.exception


@pytest.mark.parametrize("page", ["overview", "explorer", "benchmark", "size", "diagnosis"])
def test_every_page_says_that_there_are_no_labels(unlabelled: accuracy.Plan, page: str) -> None:
    assert says_agreement(visit(page, **WHERE))


def test_the_overview_counts_agreement(unlabelled: accuracy.Plan) -> None:
    at = visit("overview", **WHERE)
    assert {metric.label for metric in at.metric} == {"agreement with fp32"}
    assert [metric.value for metric in at.metric] == ["100.0%", "66.7%"]
    assert "recognise" not in text_of(at).lower().replace("recognises)", "")
    assert not [button for button in at.button if button.label == "Take the tour"]


def test_the_explorer_shows_pictures_without_a_class(unlabelled: accuracy.Plan) -> None:
    at = visit(**WHERE)
    assert len(opened(at)) == N
    assert {button.label for button in at.button if str(button.key).startswith("open-")} == {"no label"}
    assert "4 of 6 as fp32" in html_of(at)
    assert not [box for box in at.selectbox if box.label == "True class"]
    assert len(opened(visit(**WHERE, variant="qint8", verdict="wrong"))) == len(CHANGED)


@pytest.mark.parametrize("view", ["classes", "confusions"])
def test_views_of_classes_are_not_offered(unlabelled: accuracy.Plan, view: str) -> None:
    at = visit(**WHERE, view=view)
    assert len(opened(at)) == N
    assert "From the address" in text_of(at)


def test_a_picture_in_detail_has_no_true_class(
    unlabelled: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITQUANT_READONLY", "1")  # nobody is asked for the other variants' answers
    at = visit(**WHERE, picture=unlabelled.order[1])
    told = text_of(at)
    assert (
        "No label" in told
        and "✗ not as fp32" in told
        and "✓ as fp32" in told
        and "true class" not in told.lower()
    )


def test_the_benchmark_names_the_share(unlabelled: accuracy.Plan) -> None:
    told = text_of(visit("benchmark", **WHERE))
    assert "**qint8** answers 66.7% of 6 pictures as fp32 does" in told
    assert "has fewer pictures right" not in told


def test_the_tour_needs_labels(unlabelled: accuracy.Plan) -> None:
    assert "The tour needs labels" in text_of(visit("tour", **WHERE))


def test_a_report_and_a_selection_say_so_too(unlabelled: accuracy.Plan, tmp_path: Path) -> None:
    subject = gallery.Subject(drawn.MODEL, "random", "photos", 70)
    with database.opened() as db:
        [answers] = gallery.answer_sets(db, subject)
        assert [row["agreement_with"] for row in gallery.accuracy_rows(db, answers)] == ["fp32", "fp32"]
        rows = list(browse.export(db, answers.dataset_id, answers.series_ids, browse.Filter()))
        assert {row["true_words"] for row in rows} == {None}
        json.dumps(rows)
        collected = report.collect(db, subject, answers)
    assert "agreement with fp32" in report.as_html(collected)
    assert "agreement_with" in report.as_json(collected) and report.as_csv(collected)


def test_pictures_that_were_removed_are_still_told_of(unlabelled: accuracy.Plan) -> None:
    own_pictures.remove("photos")
    for page in ("overview", "explorer", "benchmark"):
        at = visit(page, **WHERE)
        assert not at.exception and not at.error
    assert "66.7%" in text_of(visit("benchmark", **WHERE))
