"""The Benchmark page: what it starts, shows, compares, and says where something is wrong."""

import csv
import io
import json
from urllib.parse import parse_qs

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from components import queue
from tests import drawn
from tests.pages.helpers import (
    LATENCY,
    LATENCY_ROWS,
    PROFILE,
    PROFILE_ROWS,
    READY,
    SIZE,
    SIZE_ROWS,
    WRONG,
    store_run,
    text_of,
    visit,
)
from vitquant import accuracy, database, gallery, jobs, machine, report, runs
from vitquant.measurements import AccuracyRequest


def test_accuracy_is_shown_in_words_and_digits(plan: accuracy.Plan) -> None:
    at = visit("benchmark")
    shown = text_of(at)
    assert "**qint8** names 6.7% of 30 pictures right at once" in shown
    assert "breaks 28 and fixes 2" in shown
    table = at.dataframe[0].value
    assert list(table["top-1"]) == pytest.approx([100 * 28 / 30, 100 * 2 / 30, 100 * 28 / 30])
    assert any("aten" not in str(f.value) and "tiny-imagenet" in str(f.value) for f in at.caption)


def test_stored_latency_and_profile_are_shown(plan: accuracy.Plan) -> None:
    store_run(LATENCY, LATENCY_ROWS)
    store_run(PROFILE, PROFILE_ROWS)
    assert "**qint8** at 1x70: 2.00 times as fast as fp32." in text_of(visit("benchmark", view="latency"))
    tables = [frame.value for frame in visit("benchmark", view="profile").dataframe]
    assert any("operator" in table and list(table["operator"]) == ["aten::addmm"] for table in tables)


def start(at: AppTest) -> None:
    [button] = [b for b in at.button if b.label == "Start"]
    button.click().run()
    assert not at.exception


def only_run() -> runs.Run:
    with database.opened() as db:
        [run] = runs.find(db, states=("queued",))
    return run


def test_a_run_is_started_from_the_form(plan: accuracy.Plan) -> None:
    at = visit("benchmark")
    at.multiselect(key="variants-of-accuracy").set_value(["fp32"])
    [number] = [n for n in at.number_input if n.label.startswith("How many")]
    number.set_value(35)
    start(at)
    run = only_run()
    assert (run.kind, run.request["variants"], run.request["limit"]) == ("accuracy", ["fp32"], 35)


def test_a_run_until_sure_is_started_from_the_form(plan: accuracy.Plan) -> None:
    at = visit("benchmark")
    at.radio(key="pictures-of-accuracy").set_value("Until sure")
    start(at)
    run = only_run()
    assert (run.request["until_sure"], run.request["limit"]) == (True, None)
    assert "until sure" in text_of(at)


def test_every_kind_of_run_is_started_from_the_form(plan: accuracy.Plan) -> None:
    for kind in ("latency", "profile", "size"):
        at = visit("benchmark")
        at.get("button_group")
        [what] = [g for g in at.get("button_group") if g.key == "measure-accuracy"]
        what.set_value(kind).run()
        start(at)
    with database.opened() as db:
        assert {run.kind for run in runs.find(db, states=("queued",))} == {"latency", "profile", "size"}


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("shapes-of-latency-70", "1x71", "70 or 84"),
        ("threads-of-latency", "0", "threads cannot be"),
        ("threads-of-latency", "two", "threads cannot be"),
    ],
)
def test_what_cannot_be_timed_is_a_sentence(plan: accuracy.Plan, field: str, value: str, sentence: str) -> None:
    at = visit("benchmark", view="latency")
    at.text_input(key=field).set_value(value)
    start(at)
    assert any(sentence in error.value for error in at.error)
    with database.opened() as db:
        assert not runs.find(db)


def test_what_is_stored_is_shown_with_its_age_and_measured_again_on_request(plan: accuracy.Plan) -> None:
    stored = store_run(SIZE, SIZE_ROWS)
    with database.opened() as db:
        db.execute("UPDATE runs SET ended_at = '2020-01-01T00:00:00+00:00' WHERE id = ?", (stored.id,))
    at = visit("benchmark")
    [what] = [g for g in at.get("button_group") if g.key == "measure-accuracy"]
    what.set_value("size").run()
    at.multiselect(key="variants-of-size").set_value(["fp32", "qint8"])
    start(at)
    assert "**Measured already**" in text_of(at)
    assert "days ago" in text_of(at)
    with database.opened() as db:
        assert len(runs.find(db)) == 1
    [again] = [b for b in at.button if b.label == "Measure again"]
    again.click().run()
    with database.opened() as db:
        assert [run.state for run in runs.find(db)] == ["queued", "done"]


def test_a_stale_run_names_what_changed_and_is_measured_again_by_a_click(plan: accuracy.Plan) -> None:
    old = store_run(LATENCY, LATENCY_ROWS)
    with database.opened() as db:
        identity = {**old.identity, "torch_version": "1.0.0", "recipe_versions": {"fp32": 0, "qint8": 1}}
        db.execute("UPDATE runs SET identity = ? WHERE id = ?", (json.dumps(identity), old.id))
    at = visit("benchmark", view="latency")
    [warning] = [w.value for w in at.warning if "Stale" in w.value]
    assert "torch (1.0.0 then" in warning
    assert "the recipe of fp32 (version 0 then" in warning
    [again] = [b for b in at.button if b.label == "Measure again"]
    again.click().run()
    run = only_run()
    assert (run.kind, run.request) == ("latency", old.request)


def test_a_noisy_machine_prints_no_digits(plan: accuracy.Plan) -> None:
    noisy = [row | {"is_noisy": row["variant"] == "qint8", "q1_s": 0.01, "q3_s": 0.05} for row in LATENCY_ROWS]
    store_run(LATENCY, noisy)
    at = visit("benchmark", view="latency")
    shown = text_of(at)
    assert "too noisy" in shown
    assert "times as fast" not in shown
    table = at.dataframe[0].value.set_index("variant")
    assert pd.isna(table.loc["qint8", "median (ms)"])
    assert table.loc["fp32", "median (ms)"] == pytest.approx(30.0)


def test_conclusions_say_on_how_many_pictures(plan: accuracy.Plan) -> None:
    shown = text_of(visit("benchmark"))
    assert "**float16**: the first look comes after 40 pictures" in shown  # of 40, 30 are answered


def test_history_keeps_older_runs_and_shows_the_noise_between_repeated_ones(plan: accuracy.Plan) -> None:
    for factor in (1.0, 1.1, 1.2):
        rows = [
            row | {name: row[name] * factor for name in ("median_s", "q1_s", "q3_s")} for row in LATENCY_ROWS
        ]
        store_run(LATENCY, rows)
    at = visit("benchmark", view="latency")
    shown = text_of(at)
    assert "how much 3 runs under the newest run's conditions vary" in shown
    [table] = [frame.value for frame in at.dataframe if "conditions" in frame.value]
    assert sorted(table["Latency, median (ms)"]) == pytest.approx([15.0, 16.5, 18.0, 30.0, 33.0, 36.0])


def test_two_runs_side_by_side_from_the_address(plan: accuracy.Plan) -> None:
    first = store_run(LATENCY, LATENCY_ROWS)
    faster = [row | {name: row[name] / 2 for name in ("median_s", "q1_s", "q3_s")} for row in LATENCY_ROWS]
    second = store_run(LATENCY, faster)
    at = visit("benchmark", view="compare", first=first.id, second=second.id)
    tables = [frame.value for frame in at.dataframe]
    [changes] = [table for table in tables if "change" in table]
    assert all(change.startswith("2.000 times as fast") for change in changes["change"])


def test_pictures_that_changed_their_answer_lead_into_the_explorer(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = AccuracyRequest(drawn.MODEL, "random", ("fp32", "qint8"), drawn.DATASET, 30)

    def stored_run() -> runs.Run:
        with database.opened() as db:
            rows = accuracy.rows(db, request.plan(db), request.variants, 30)
        return store_run(request, rows)

    first = stored_run()
    version_of = machine.version_of
    monkeypatch.setattr(machine, "version_of", lambda name: "9.9.9" if name == "torch" else version_of(name))
    others = {name: set() for name in READY if name not in WRONG}  # nothing is left to ask the worker
    drawn.store_answers(WRONG | {"qint8": WRONG["qint8"] - {7, 9}} | others, limit=30)
    at = visit("benchmark", view="compare", first=first.id, second=stored_run().id)
    assert "**qint8**: 2 pictures" in text_of(at)
    assert "**fp32**: 0 pictures" in text_of(at)
    links = [link.proto.query_string for link in at.get("page_link") if "picture=" in link.proto.query_string]
    assert len(links) == 2
    numbers = {plan.order[position] for position in (7, 9)}
    assert {int(parse_qs(link)["picture"][0]) for link in links} == numbers
    query = {name: values[0] for name, values in parse_qs(links[0]).items()}
    explorer = visit("explorer", **query)
    assert not explorer.warning or not any("address" in w.value for w in explorer.warning)
    assert "✓ right" in text_of(explorer)


@pytest.mark.parametrize("query", [{"first": 99}, {"second": "x"}, {"view": "nothing"}, {"run": "-1"}])
def test_an_address_that_means_nothing_here_is_a_sentence(
    plan: accuracy.Plan, query: dict[str, object]
) -> None:
    store_run(LATENCY, LATENCY_ROWS)
    store_run(LATENCY, LATENCY_ROWS)
    store_run(SIZE, SIZE_ROWS)
    view = {"view": "latency"} if "run" in query else {"view": "compare"}
    at = visit("benchmark", **(view | query))
    assert any("is shown instead" in warning.value for warning in at.warning)


def test_the_reports_figures_are_the_pages(plan: accuracy.Plan) -> None:
    store_run(LATENCY, LATENCY_ROWS)
    at = visit("benchmark")
    shown = at.dataframe[0].value.set_index("variant")
    with database.opened() as db:
        subject = gallery.subjects(db)[0]
        collected = report.collect(db, subject, gallery.answer_sets(db, subject)[0])
    page = report.as_html(collected)
    embedded = json.loads(page.split('id="figures">')[1].split("</script>")[0])
    assert embedded == json.loads(report.as_json(collected))
    by_kind = {part["kind"]: part for part in embedded["parts"]}
    for row in by_kind["accuracy"]["rows"]:
        assert 100 * row["top1"] == pytest.approx(shown.loc[row["variant"], "top-1"])
        assert row["broken"] is None or row["broken"] == shown.loc[row["variant"], "broken"]
        assert f"<td>{row['top1']:.2%}</td>" in page
    timed = visit("benchmark", view="latency").dataframe[0].value.set_index("variant")
    lines = list(csv.DictReader(io.StringIO(report.as_csv(collected))))
    for row in by_kind["latency"]["rows"]:
        assert 1e3 * row["median_s"] == pytest.approx(timed.loc[row["variant"], "median (ms)"])
        [line] = [
            line
            for line in lines
            if (line["part"], line["variant"], line["figure"]) == ("latency", row["variant"], "median_s")
        ]
        assert float(line["value"]) == row["median_s"]
        assert line["at"] == "1x70 threads 1"
    assert any(line["figure"] == "torch" and line["value"] for line in lines)


def test_a_read_only_dashboard_shows_everything_and_starts_nothing(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITQUANT_READONLY", "1")
    store_run(LATENCY, LATENCY_ROWS)
    stopped = store_run(SIZE, SIZE_ROWS, state="interrupted")
    pages = {
        "overview": {},
        "explorer": {"picture": plan.order[35]},  # not answered yet
        "benchmark": {},
        "size": {},
        "tour": {"step": 3},
    }
    for page, query in pages.items():
        at = visit(page, **query)
        assert "read-only" in text_of(at), page
        labels = {button.label for button in at.button}
        assert not labels & {"Start", "Cancel", "Continue", "Measure again", "Measure the sizes"}, page
        assert not any(label.startswith("Measure") for label in labels), page
    assert "**qint8** at 1x70: 2.00 times as fast" in text_of(visit("benchmark", view="latency"))
    queue.start(SIZE)  # what a page left open from before would call
    with database.opened() as db:
        assert [run.state for run in runs.find(db) if run.id == stopped.id] == ["interrupted"]
        assert not runs.find(db, states=("queued",))


def test_a_run_that_stopped_half_way_is_continued(plan: accuracy.Plan) -> None:
    run = store_run(SIZE, [], state="interrupted")
    at = visit("benchmark")
    assert "is interrupted" in text_of(at)
    at.button(key=f"continue-{run.id}").click().run()
    with database.opened() as db:
        assert runs.get(db, run.id).state == "queued"


def test_a_run_that_stopped_half_way_is_forgotten_by_a_click(plan: accuracy.Plan) -> None:
    run = store_run(SIZE, [], state="cancelled")
    at = visit("size")
    at.button(key=f"forget-{run.id}").click().run()
    assert not at.exception
    assert "stopped half-way" not in text_of(at)
    with database.opened() as db:
        assert runs.look_up(db, run.id) is None


def test_a_waiting_run_is_cancelled(plan: accuracy.Plan) -> None:
    with database.opened() as db:
        run = jobs.start(db, SIZE)
    at = visit("benchmark")
    at.button(key=f"cancel-{run.id}").click().run()
    with database.opened() as db:
        assert runs.get(db, run.id).state == "cancelled"
