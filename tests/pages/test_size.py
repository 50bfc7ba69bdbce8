"""The Size page's views of sizes, the riddle, the bytes and files to take away, on stored rows: no torch."""

import hashlib
import json
import re
from typing import Any

import psutil
import pytest
from streamlit.testing.v1 import AppTest

from tests import drawn
from tests.conftest import ROOT
from tests.pages.helpers import SIZE, SIZE_ROWS, choose, store_run, text_of, visit
from vitquant import (
    accuracy,
    database,
    exports,
    formats,
    layer_facts,
    ledger,
    machine,
    paths,
    runs,
    wording,
)
from vitquant.layer_facts import Facts
from vitquant.ledger import Entry
from vitquant.measurements import DiagnosisRequest, ExportRequest
from vitquant.request import to_plain

BASELINE = 700_000_000


def entries(linear: str) -> list[Entry]:
    """A model of one block whose Linear layer has that data type."""
    size, on_disk = {"float32": (4, 4), "int8": (1, 1), "float16": (2, 4)}[linear]
    counted = ledger.PARAMETERS if linear == "float32" else ledger.PACKED
    disk_type = "float32" if linear == "float16" else linear
    scales = [
        Entry("blocks.0.attn.qkv", "scale and zero point", ledger.PACKED, ledger.SCALES, 8, ledger.SCALES, 0)
    ]
    return [
        Entry("", "pos_embed", ledger.PARAMETERS, "float32", 400_000, "float32", 400_000),
        Entry("blocks.0.norm1", "weight", ledger.PARAMETERS, "float32", 3_000, "float32", 3_000),
        Entry("blocks.0.attn.qkv", "weight", counted, linear, 1_000_000 * size, disk_type, 1_000_000 * on_disk),
        *(scales if linear == "int8" else []),
        Entry("linear_head", "bias", ledger.PARAMETERS, "float32", 4_000, "float32", 4_000),
        Entry("", ledger.STRUCTURE, ledger.FILE, "", 0, "", 700),
        Entry("", ledger.HEADERS, ledger.FILE, "", 0, "", 90),
    ]


def row(variant: str, dtype: str) -> dict[str, Any]:
    found = entries(dtype)
    counted = ledger.by(found, "counted")
    of = {name: counted[name].memory_bytes if name in counted else 0 for name in ("parameters", "packed")}
    both = ledger.total(found)
    return {
        "variant": variant,
        "disk_bytes": both.disk_bytes,
        "parameters_bytes": of["parameters"],
        "packed_bytes": of["packed"],
        "buffers_bytes": 0,
        "total_bytes": both.memory_bytes,
        "ledger": ledger.plain(found),
        "baseline_bytes": BASELINE,
        "peak_bytes": BASELINE + 2 * both.memory_bytes,
        "steady_bytes": BASELINE + both.memory_bytes + 30_000,
        "load_s": 0.1,
    }


ROWS = [row("fp32", "float32"), row("qint8", "int8"), row("float16", "float16")]
REQUEST = type(SIZE)(drawn.MODEL, "random", ("fp32", "qint8", "float16"))


@pytest.fixture
def measured(plan: accuracy.Plan) -> None:
    store_run(REQUEST, ROWS)


def specs(at: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in at.get("plotly_chart")]


def treemap(at: AppTest) -> dict[str, Any]:
    [found] = [trace for spec in specs(at) for trace in spec["data"] if trace["type"] == "treemap"]
    return dict(found)


def buttons(at: AppTest, label: str) -> list[Any]:
    return [button for button in at.button if button.label == label]


# ---- disk and memory -----------------------------------------------------------------------------------------


def test_resident_memory_is_shown_without_its_baseline(measured: None) -> None:
    at = visit("size")
    assert "700 MB" in text_of(at)
    assert "While it is loaded" not in text_of(at)  # here fp32 takes the most
    table = at.dataframe[0].value.set_index("variant")
    assert table.loc["qint8", "process before loading"] == BASELINE
    assert table.loc["qint8", "added, steady"] == ROWS[1]["total_bytes"] + 30_000
    assert table.loc["qint8", "added, peak"] == 2 * ROWS[1]["total_bytes"]
    assert table.loc["qint8", "steady / tensors"] == pytest.approx(1 + 30_000 / 1_407_008)


def test_a_variant_that_takes_more_than_fp32_while_it_is_loaded_is_named(plan: accuracy.Plan) -> None:
    store_run(REQUEST, [*ROWS[:2], ROWS[2] | {"peak_bytes": BASELINE + 9_000_000}])
    assert "While it is loaded, **float16** takes the most, 9 MB" in text_of(visit("size"))


def test_what_an_older_version_measured_still_shows_and_is_measured_again(plan: accuracy.Plan) -> None:
    older = store_run(SIZE, SIZE_ROWS)
    with database.opened() as db:  # as it was stored before there were ledgers
        identity = {name: value for name, value in older.identity.items() if name != "measurement"}
        db.execute("UPDATE runs SET identity = ? WHERE id = ?", (json.dumps(identity), older.id))
    at = visit("size")
    assert list(at.dataframe[0].value["on disk"]) == [95_980_187, 26_554_327]
    assert f"what is measured (1 then, {ledger.VERSION} now)" in text_of(at)
    for view in ("riddle", "tree"):
        at = visit("size", view=view)
        assert "before every tensor was listed" in text_of(at)
        assert len(buttons(at, "Measure the sizes")) == 1


def test_a_model_too_large_for_this_machine_is_said_in_place_of_the_button(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: real._replace(available=1_100_000_000))
    for view in ("sizes", "take"):
        at = visit("size", view=view, model="dinov2_vitl14_lc", weights="random")
        shown = text_of(at)
        assert "dinov2_vitl14_lc would need about" in shown
        assert "take sample" in shown
        assert not buttons(at, "Measure the sizes")
        assert not buttons(at, "Make the file")


# ---- the riddle ----------------------------------------------------------------------------------------------


def test_the_riddle_goes_from_the_notebooks_figures_to_the_true_ones(measured: None) -> None:
    at = visit("size", view="riddle")
    beside = at.dataframe[0].value.set_index("variant")
    assert beside.loc["qint8", "notebook, disk (MiB)"] == pytest.approx(91.0559, abs=1e-4)
    assert beside.loc["qint8", "here, memory (MB)"] == pytest.approx(0.407)  # what parameters() counts
    memory = at.dataframe[1].value.set_index("")
    assert list(memory["qint8"]) == [407_000, 1_000_000, 8, 1_407_008]
    disk = at.dataframe[2].value.set_index("")
    assert disk.loc["float16 unpacked to float32 to be saved", "float16"] == 2_000_000
    assert disk.loc["= on disk, all", "float16"] == ROWS[2]["disk_bytes"]
    shown = text_of(at)
    assert "**float16**'s file is not smaller than fp32's; its tensors in memory are 1.8 times smaller" in shown
    assert "you look at `dinov2_vits14_reg_lc`" in shown  # the notebook's model is another one
    assert any("view=riddle" in link.proto.query_string for link in at.get("page_link"))


def test_before_anything_is_measured_the_riddle_shows_the_notebook_and_a_button(plan: accuracy.Plan) -> None:
    at = visit("size", view="riddle")
    assert list(at.dataframe[0].value["variant"]) == ["fp32", "qint8", "float16"]
    assert len(buttons(at, "Measure the sizes")) == 1


# ---- where the bytes are -------------------------------------------------------------------------------------


def test_two_variants_lie_under_one_root_and_their_areas_compare(measured: None) -> None:
    found = treemap(visit("size", view="tree"))
    sizes = dict(zip(found["ids"], found["values"], strict=True))
    assert sizes["fp32"] == ROWS[0]["total_bytes"]
    assert sizes["qint8"] == ROWS[1]["total_bytes"]
    assert sizes["all"] == sizes["fp32"] + sizes["qint8"]
    parents = dict(zip(found["ids"], found["parents"], strict=True))
    assert (parents["fp32"], parents["qint8/block 0"]) == ("all", "qint8")
    for node in parents:  # what lies in a node takes all of it
        inside = [child for child, parent in parents.items() if parent == node]
        assert not inside or sum(sizes[child] for child in inside) == sizes[node]


def test_what_quantization_left_in_float32_has_its_own_colour_and_pattern(measured: None) -> None:
    found = treemap(visit("size", view="tree"))
    place = {node: at for at, node in enumerate(found["ids"])}
    colours, shapes = found["marker"]["colors"], found["marker"]["pattern"]["shape"]
    left, packed = place["qint8/embedding/tokens and positions"], place["qint8/block 0/attn.qkv/weight"]
    assert colours[left] == colours[place["fp32"]] != colours[packed]
    assert shapes[left] != shapes[packed]


def test_on_disk_a_float16_variant_is_float32(measured: None) -> None:
    at = visit("size", view="tree", variant="float16", bytes="disk", **{"with": "nothing"})
    found = treemap(at)
    sizes = dict(zip(found["ids"], found["values"], strict=True))
    assert sizes["all"] == sizes["float16"] == ROWS[2]["disk_bytes"]
    assert "float16 2.00 MB" not in text_of(at)
    assert "float32 4.41 MB" in text_of(at)


def test_the_address_descends_and_the_parts_lie_side_by_side(measured: None) -> None:
    at = visit("size", view="tree", at="qint8/block 0")
    assert treemap(at)["level"] == "qint8/block 0"
    assert "Side by side: block 0" in text_of(at)
    table = at.dataframe[0].value.set_index("part")
    assert list(table.loc["attn.qkv", ["fp32", "qint8"]]) == [4_000_000, 1_000_008]
    assert table.loc["attn.qkv", "qint8, types"] == "int8, scales"
    [up] = [button for button in at.button if button.key == "up-0"]
    up.click().run()
    assert treemap(at)["level"] == "all"
    at.selectbox(key="descend-block-all").set_value("fp32").run()
    assert treemap(at)["level"] == "fp32"


def test_all_layers_of_a_kind_lie_together_when_divided_so(measured: None) -> None:
    at = visit("size", view="tree", group="kind", at="fp32/attn.qkv")
    assert treemap(at)["level"] == "fp32/attn.qkv"
    assert "Side by side: attn.qkv" in text_of(at)
    assert list(at.dataframe[0].value["part"]) == ["block 0"]


def test_a_part_that_is_not_there_is_a_sentence(measured: None) -> None:
    at = visit("size", view="tree", at="qint8/block 99")
    assert any("There is no part" in warning.value for warning in at.warning)
    assert treemap(at)["level"] == "all"


# ---- two variants layer by layer -----------------------------------------------------------------------------

QKV, HEAD = "blocks.0.attn.qkv", "linear_head"


def with_layers(variant: str, dtype: str, head: str = "float32") -> dict[str, Any]:
    """The same row with the facts of its two layers; the head is in float unless said otherwise."""

    def facts(layer: str, of: str) -> Facts:
        int8 = (layer, "int8", "per tensor, symmetric", 128, (), 1_000_008, 1_000_000, 38.25)
        return Facts(*int8) if of == "int8" else Facts(layer, of, "float", None, (), 4_000_000, 4_000_000, None)

    return row(variant, dtype) | {"layers": layer_facts.plain([facts(QKV, dtype), facts(HEAD, head)])}


@pytest.fixture
def measured_layers(plan: accuracy.Plan) -> None:
    found = [with_layers("fp32", "float32"), with_layers("qint8", "int8"), with_layers("float16", "float16")]
    store_run(REQUEST, found)


def layer_table(at: AppTest) -> Any:
    """Of the view's tables the one with two rows of headings; by layer."""
    [table] = [found.value for found in at.dataframe if found.value.columns.nlevels == 2]
    return table


def test_two_variants_stand_side_by_side_layer_by_layer(measured_layers: None) -> None:
    at = visit("size", view="tree")
    assert "**1 of 2** Linear layers differ between **fp32** and **qint8**" in text_of(at)
    table = layer_table(at)
    assert list(table.index) == ["block 0, qkv"]  # the head is the same in both
    assert table.loc["block 0, qkv", ("type", "fp32")] == "float32"
    assert table.loc["block 0, qkv", ("computes with", "qint8")] == "7 bits"
    assert table.loc["block 0, qkv", ("weight: SQNR (dB)", "qint8")] == 38.25
    assert ("weight: SQNR (dB)", "fp32") not in table  # exact in every layer
    assert "done to it" not in table  # the same in every layer
    [totals] = at.table
    assert list(totals.value.loc["the whole variant"]) == ["4.41 MB", "1.41 MB", "4.41 MB", "1.41 MB"]
    choose(at, "shown", "all")
    assert list(layer_table(at).index) == ["block 0, qkv", "head"]
    assert "done to it" in layer_table(at)


def test_only_what_differs_is_marked(measured_layers: None) -> None:
    at = visit("size", view="tree", shown="all")
    [styled] = [found.proto.arrow_data.styler for found in at.dataframe if found.value.columns.nlevels == 2]
    # Column 1, row 0: qint8's type of block 0's qkv. Column 0 is fp32's, row 1 the head, alike in both.
    assert re.search(r"row0_col1\b[^}]*background-color", styled.styles)
    assert not re.search(r"row[01]_col0\b[^}]*background-color", styled.styles)
    assert not re.search(r"row1_col\d+\b[^}]*background-color", styled.styles)


def test_which_two_is_in_the_address_and_one_with_settings_is_offered_too(measured_layers: None) -> None:
    mixed = "qint8_mixed:limit=1"
    with database.opened() as db:  # measured by itself
        run = runs.add(
            db,
            "size",
            to_plain(REQUEST) | {"variants": [mixed]},
            REQUEST.identity(db),
            machine.environment(),
        )
        runs.finish(db, run.id, "done", "", result=[with_layers(mixed, "int8", head="float16")])
    at = visit("size", view="tree", first="fp32", second=mixed)
    assert f"**2 of 2** Linear layers differ between **fp32** and **{mixed}**" in text_of(at)
    assert layer_table(at).loc["head", ("type", mixed)] == "float16"
    at.selectbox(key="address:first").set_value("qint8").run()
    assert at.query_params["first"] == "qint8"
    assert list(layer_table(at).index) == ["head"]
    at.selectbox(key="address:second").set_value("qint8").run()
    assert not at.exception
    assert "**qint8** beside itself" in text_of(at)
    wrong = visit("size", view="tree", first="qint9")
    assert any("There is no measured variant `qint9`" in warning.value for warning in wrong.warning)


def test_the_cost_of_a_layer_comes_from_a_diagnosis_of_that_variant(measured_layers: None) -> None:
    assert "is measured on the Diagnosis page" in text_of(visit("size", view="tree"))
    request = DiagnosisRequest(drawn.MODEL, "random", drawn.DATASET, 16)
    costs = {"part": "layer", "layer": QKV, "n": 16, "alone_kl_nats": 0.125, "alone_sqnr_db": None}
    store_run(request, [costs])
    at = visit("size", view="tree")
    assert layer_table(at).loc["block 0, qkv", ("alone: KL (nats)", "qint8")] == 0.125
    assert f"on 16 pictures of {drawn.DATASET}" in text_of(at)
    at = visit("size", view="tree", second="float16")
    assert "alone: KL (nats)" not in layer_table(at)


@pytest.mark.parametrize("read_only", ["0", "1"])
def test_sizes_of_an_older_version_offer_to_look_at_the_layers(
    measured: None, monkeypatch: pytest.MonkeyPatch, read_only: str
) -> None:
    monkeypatch.setenv("VITQUANT_READONLY", read_only)
    at = visit("size", view="tree")
    assert treemap(at)["level"] == "all"  # what is stored still shows
    assert "measured before layers were looked at" in text_of(at)
    offered = [button for button in buttons(at, "Measure the sizes") if button.key == "measure-layers"]
    assert len(offered) == (read_only == "0")


def test_one_measured_variant_says_that_it_takes_two(plan: accuracy.Plan) -> None:
    store_run(type(SIZE)(drawn.MODEL, "random", ("fp32",)), [with_layers("fp32", "float32")])
    assert "Only fp32 is measured so far" in text_of(visit("size", view="tree"))


# ---- take it away --------------------------------------------------------------------------------------------

EXPORT = ExportRequest(drawn.MODEL, "random", ("qint8",), "program", drawn.DATASET, exports.FEW_PICTURES)


def exported(request: ExportRequest = EXPORT, **changed: Any) -> runs.Run:
    """A finished export with its file."""
    content = b"the file itself"
    place = "abc/" + exports.archive_name(
        request.model, request.weights, request.variants[0], request.format, 70
    )
    file = paths.exports_dir() / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    found = {
        "variant": request.variants[0],
        "format": request.format,
        "file": place,
        "file_bytes": len(content),
        "weights_bytes": 9,
        "sha256": hashlib.sha256(content).hexdigest(),
        "n": 40,
        "disagreements": 0,
        "largest_logit_difference": 0.0,
        "compared_with": request.variants[0],
        "top1": 0.5,
        "top1_low": 0.35,
        "top1_high": 0.65,
        "reference_top1": 0.5,
        "fp32_top1": 0.5,
        "runtime": "torch 2",
    }
    return store_run(request, [found | changed])


def test_a_file_is_made_by_a_click(plan: accuracy.Plan) -> None:
    at = visit("size", view="take", variant="qint8")
    [button] = buttons(at, "Make the file")
    button.click().run()
    with database.opened() as db:
        [run] = runs.find(db, states=("queued",))
    assert (run.kind, run.request["variants"], run.request["format"]) == ("export", ["qint8"], "program")
    assert run.request["dataset"] == drawn.DATASET


def test_the_proof_stands_before_the_download(plan: accuracy.Plan) -> None:
    exported(disagreements=3, largest_logit_difference=0.25)
    at = visit("size", view="take", variant="qint8")
    shown = text_of(at)
    assert "another first answer on 3 of 40 pictures" in shown
    assert "0.25" in shown
    assert "The weights are random" in shown
    [download] = at.get("download_button")
    assert download.proto.label.startswith("Download")
    assert not buttons(at, "Make the file")


def test_a_file_that_was_tampered_with_is_not_offered(plan: accuracy.Plan) -> None:
    [row] = exported().result or []
    (paths.exports_dir() / row["file"]).write_bytes(b"another of size")  # as many bytes as the file had
    at = visit("size", view="take", variant="qint8")
    assert not at.get("download_button")
    assert len(buttons(at, "Make the file")) == 1


def test_a_ruined_variant_is_no_green_offer(plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"n": 40, "top1": 0.1, "top1_low": 0.04, "top1_high": 0.2, "fp32_top1": 0.9}
    assert "recognises 10.0% of these 40 pictures" in str(wording.ruined_sentence(found))
    assert wording.ruined_sentence(found | {"top1_high": 0.9}) is None
    assert wording.ruined_sentence(found | {"fp32_top1": None}) is None


def test_a_file_that_is_gone_is_offered_to_be_made_again(plan: accuracy.Plan) -> None:
    [row] = exported().result or []
    (paths.exports_dir() / row["file"]).unlink()
    at = visit("size", view="take", variant="qint8")
    assert not at.get("download_button")
    assert len(buttons(at, "Make the file")) == 1
    assert list(at.dataframe[0].value["where"]) == ["the file is gone"]


def test_a_conversion_is_shown_with_its_own_accuracy(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats.util, "find_spec", lambda name: object())
    request = ExportRequest(drawn.MODEL, "random", ("fp32",), "onnx-int8", drawn.DATASET, exports.FEW_PICTURES)
    exported(request, compared_with="fp32", disagreements=20)
    shown = text_of(visit("size", view="take", format="onnx-int8"))
    assert "not torch's qint8" in shown
    assert "**50.0%** right (95% interval 35.0% to 65.0%)" in shown


def test_without_its_packages_onnx_says_how_to_get_them(
    plan: accuracy.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = formats.util.find_spec
    monkeypatch.setattr(formats.util, "find_spec", lambda name: None if "onnx" in name else real(name))
    at = visit("size", view="take", format="onnx")
    assert "pip install -r requirements-onnx.txt" in text_of(at)
    assert not buttons(at, "Make the file")


def test_the_loader_is_shown_as_it_goes_along(plan: accuracy.Plan) -> None:
    at = visit("size", view="take", format="state-dict")
    [code] = at.get("code")
    assert code.value == (ROOT / "vitquant/takeaway/load_state_dict.py").read_text().strip()


def test_float16_says_why_torchs_own_file_is_not_half_as_large(plan: accuracy.Plan) -> None:
    assert "unpacks the weight to float32" in text_of(visit("size", view="take", variant="float16"))


@pytest.mark.parametrize("view", ["sizes", "riddle", "tree", "budget", "bits", "take"])
def test_a_read_only_page_starts_nothing(measured: None, monkeypatch: pytest.MonkeyPatch, view: str) -> None:
    exported()
    monkeypatch.setenv("VITQUANT_READONLY", "1")
    at = visit("size", view=view, variant="qint8")
    labels = {button.label for button in at.button}
    assert not {label for label in labels if label.startswith(("Measure", "Make"))}
    if view == "take":
        assert at.get("download_button")


@pytest.mark.parametrize(
    "query", [{"view": "cellar"}, {"view": "take", "format": "floppy"}, {"view": "tree", "bytes": "none"}]
)
def test_an_address_that_means_nothing_is_a_sentence(measured: None, query: dict[str, str]) -> None:
    at = visit("size", **query)
    assert any("is shown instead" in warning.value for warning in at.warning)
