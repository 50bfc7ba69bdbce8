"""The Data page: what is here and what is not, fetching, removing, settings, what takes space."""

from pathlib import Path

import pytest
import timm
import torch
from streamlit.testing.v1 import AppTest

from tests import drawn
from tests.pages.helpers import LATENCY, LATENCY_ROWS, SIZE, SIZE_ROWS, opened, store_run, text_of, visit
from tests.test_registry import MODEL
from vitquant import accuracy, catalog, database, datasets, jobs, paths, registry, runs
from vitquant.errands import FetchRequest, VerifyRequest
from vitquant.errors import InputError
from vitquant.runs import Run

SMALL = "dinov2_vits14_lc"


@pytest.fixture(autouse=True)
def places(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def view(name: str = "here") -> AppTest:
    return visit("data", view=name)


def keys(at: AppTest) -> set[str]:
    return {str(button.key) for button in at.button}


def queued() -> list[Run]:
    with database.opened() as db:
        return runs.find(db, states=("queued",), errands=True)


def test_everything_there_is_is_listed_with_its_source_and_licence() -> None:
    at = view()
    said = text_of(at)
    for words in (
        "Tiny-ImageNet, validation",
        "248.1 MB to fetch",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "DINOv2 ViT-g/14 with registers",
        "about 4,577 MB to fetch",
        "Apache License 2.0",
        "non-commercial research",
    ):
        assert words in said
    assert "90528d7ca1a48142e341f4ef8d21d0de" in "".join(str(code.value) for code in at.code)
    assert f"verify-model-{SMALL}" not in keys(at)


def test_a_click_fetches_and_the_button_waits_meanwhile() -> None:
    at = view()
    at.button(key="fetch-dataset-tiny-imagenet").click().run()
    [run] = queued()
    assert (run.kind, run.request["name"]) == ("fetch", "tiny-imagenet")
    assert at.button(key="fetch-dataset-tiny-imagenet").disabled
    assert "Fetching tiny-imagenet" in text_of(at)
    assert not at.button(key=f"fetch-model-{SMALL}").disabled


def test_a_mirror_and_a_brought_file_are_taken(tmp_path: Path) -> None:
    at = view()
    brought = tmp_path / "tiny.zip"
    brought.write_bytes(b"")
    at.text_input(key=f"mirror-model-{SMALL}").set_value("https://mirror.example/files").run()
    at.button(key=f"mirrored-model-{SMALL}").click().run()
    assert queued()[0].request["mirror"] == "https://mirror.example/files"
    at.text_input(key="path-dataset-tiny-imagenet").set_value(str(brought)).run()
    at.button(key="brought-dataset-tiny-imagenet").click().run()
    assert queued()[0].request["files"] == [str(brought)]


def test_a_download_under_way_shows_how_far_it_is() -> None:
    run = store_run(FetchRequest("tiny-imagenet"), [], state="running")
    with database.opened() as db:
        runs.report(db, run.id, 124_000_000, 248_000_000, "bytes of tiny-imagenet-200.zip")
        db.execute("UPDATE runs SET process_id = ?, process_started = ?", _this_process())
    at = view()
    [progress] = at.get("progress")
    assert progress.proto.text.startswith("124.0 of 248.0 MB of tiny-imagenet-200.zip")


def _this_process() -> tuple[int, float]:
    import os

    import psutil

    return os.getpid(), psutil.Process().create_time()


def test_one_that_stopped_says_why_and_can_go_on() -> None:
    run = store_run(FetchRequest("tiny-imagenet"), [], state="failed")
    at = view()
    assert "has failed" in text_of(at) and "Cut short." in text_of(at)
    at.button(key=f"continue-{run.id}").click().run()
    assert [again.id for again in queued()] == [run.id]


def test_errands_are_no_results(plan: accuracy.Plan) -> None:
    store_run(FetchRequest("tiny-imagenet"), [{"file": "x"}])
    store_run(VerifyRequest("tiny-imagenet"), [{"what": "10 pictures", "is": "as it should be", "sha256": "0"}])
    for page in ("overview", "benchmark", "size"):
        visit(page)
    assert "10 pictures as it should be" in text_of(view())


def test_pictures_are_removed_after_a_second_thought_and_their_figures_stay(plan: accuracy.Plan) -> None:
    (paths.data_dir() / drawn.DATASET / "prepared.json").write_text("{}")
    at = view()
    at.button(key=f"remove-dataset-{drawn.DATASET}").click().run()
    assert f"Removed {drawn.DATASET}" in "".join(str(one.value) for one in at.success)
    assert not datasets.is_here(drawn.DATASET)
    for page in ("overview", "explorer", "benchmark"):
        said = text_of(visit(page))
        assert f"**The pictures of {drawn.DATASET} are gone.** What was measured with them is shown" in said
        assert "Stale" not in said
    assert "93.3%" in text_of(visit("benchmark"))


def test_what_is_in_use_is_not_removed(plan: accuracy.Plan) -> None:
    store_run(VerifyRequest(drawn.DATASET), [], state="queued")
    at = view("space")
    at.button(key=f"remove-pictures-{drawn.DATASET}").click().run()
    assert "is under way: cancel it first" in "".join(str(one.value) for one in at.error)
    assert datasets.is_here(drawn.DATASET)


def test_stored_runs_are_listed_and_removed_one_by_one() -> None:
    run, other = store_run(SIZE, SIZE_ROWS), store_run(LATENCY, LATENCY_ROWS)
    at = view("space")
    assert f"run {run.id}: size of {drawn.MODEL}" in text_of(at)
    at.button(key=f"remove-runs-{run.id}").click().run()
    with database.opened() as db:
        assert [left.id for left in runs.find(db)] == [other.id]
    assert f"Forgot run {run.id}." in "".join(str(one.value) for one in at.success)


def test_pictures_are_looked_through_chosen_for_and_added(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    drawn.draw_split(folder, 2, classes=2)
    first, second = sorted(folder.iterdir())
    first.rename(folder / "crane")
    at = view("pictures")
    at.text_input(key="own:path").set_value(str(folder))
    at.text_input(key="own:name").set_value("mine").run()
    [look] = [button for button in at.button if button.label == "Look through them"]
    look.click().run()
    carry_out(queued()[0])
    at = view("pictures")
    said = text_of(at)
    assert "1 word that matches several classes: choose" in said
    [which] = [box for box in at.selectbox if box.label == "`crane`"]
    which.select(134).run()
    at.button(key="own:add").click().run()
    carry_out(queued()[0])
    assert "mine" in catalog.datasets()
    said = text_of(view("pictures"))
    assert "**mine** (`mine`): 4 pictures, 2 classes" in said
    at = visit("explorer", dataset="mine")
    assert len(opened(at)) == 4
    at = view("space")
    at.button(key="remove-pictures-mine").click().run()
    assert "mine" not in catalog.datasets() and second.is_dir()


def carry_out(run: Run) -> None:
    jobs.carry_out_queued(run.id)


def test_a_model_and_a_head_are_asked_for(pictures: Path, tmp_path: Path) -> None:
    files = [tmp_path / "backbone.pth", tmp_path / "head.pth"]
    for file in files:
        file.write_bytes(b"")
    at = view("models")
    at.text_input(key="model:name").set_value("mine")
    at.text_area(key="model:files").set_value("\n\n".join(map(str, files))).run()
    [add] = [button for button in at.button if button.label == "Add it"]
    add.click().run()
    assert queued()[0].request["files"] == [str(file) for file in files]
    assert queued()[0].request["timm"] is None
    with pytest.raises(InputError, match="cut short"):
        carry_out(queued()[0])
    assert "has failed" in text_of(view("models")) and "mine" not in catalog.models()
    at.selectbox(key="head:model").select(SMALL).run()
    at.text_input(key="head:name").set_value("headed").run()
    [train] = [button for button in at.button if button.label == "Train the head"]
    train.click().run()
    # Its weights are not here: said at once, and nothing is queued.
    assert [str(one.value) for one in at.error]
    with database.opened() as db:
        assert runs.find(db, states=("queued",)) == []


def test_one_of_timms_is_added_by_its_name_and_served_at_its_own_sizes(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=1000)
    torch.save(model.state_dict(), tmp_path / "test_vit.pth")
    at = view("models")
    at.text_input(key="model:name").set_value("mine")
    at.text_input(key="model:timm").set_value("test_vit")
    at.text_area(key="model:files").set_value(str(tmp_path / "test_vit.pth")).run()
    [add] = [button for button in at.button if button.label == "Add it"]
    add.click().run()
    carry_out(queued()[0])
    assert "timm's test_vit" in text_of(view("models"))
    page = visit("benchmark", model="mine")
    [size] = [box for box in page.selectbox if box.label == "Image size"]
    assert size.options == ["64 × 64 pixels", "160 × 160 pixels", "224 × 224 pixels"]
    assert size.value == 160
    page = visit("benchmark", model="mine", view="latency")
    assert page.text_input(key="shapes-of-latency-160").value == "1x160, 8x160"


def test_a_trained_head_says_what_it_is_worth() -> None:
    registry.add(registry.MODELS, "mine", {"spec": MODEL})
    fit = {"part": "fit", "classes": 9, "n_train": 80, "dataset": "photos", "n_heldout": 20}
    fit |= {"top1": 0.5, "top1_low": 0.299, "top1_high": 0.701, "held_out": "photos-rest"}
    fit |= {"head_file": MODEL["files"][-1]}
    with database.opened() as db:
        run = runs.add(db, "head", {"model": SMALL, "weights": "", "variants": [], "name": "mine"}, {}, {})
        runs.finish(db, run.id, "done", result=[fit])
    assert "Of 20 others it has 50.0% right (95% interval 29.9% to 70.1%)" in text_of(view("models"))
    for page in ("overview", "benchmark", "size"):
        visit(page)


def test_settings_are_shown_with_what_holds_and_who_said_so(
    no_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_settings.write_text('threads = 1\nmirror = "http://one.example"\n')
    monkeypatch.setenv("VITQUANT_MIRROR", "http://two.example")
    said = text_of(view("settings"))
    assert "**threads**: `1`" in said and "**mirror**: `http://two.example`" in said
    assert "`VITQUANT_MIRROR` in the environment" in said and str(no_settings) in said


def test_a_setting_that_cannot_be_is_a_sentence_on_every_page(no_settings: Path) -> None:
    no_settings.write_text("threads = 0\n")
    at = view("settings")
    assert any("is not a whole number" in str(one.value) for one in at.error)


def test_read_only_nothing_can_be_fetched_or_removed(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITQUANT_READONLY", "1")
    for name in ("here", "space"):
        assert not [key for key in keys(view(name)) if key.startswith(("fetch", "verify", "remove"))]
