"""The command line, from outside: what a person types, what comes back, with which exit status."""

import gzip
import json
import os
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import ROOT
from vitquant import latency

SMALL = ["--model", "dinov2_vits14_reg_lc", "--weights", "random"]
ACCURACY = ["benchmark", "accuracy", *SMALL, "--dataset", "tiny-imagenet", "--json"]

# Runs one command, then says on standard error whether torch was imported meanwhile.
WITHOUT_TORCH = """
import sys
from vitquant.cli import main
status = main(sys.argv[1:])
heavy = {"torch", "torchvision", "timm"} & set(sys.modules)
print(f"imported: {sorted(heavy)}", file=sys.stderr)
sys.exit(status)
"""


def vitquant(*words: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def answer(*words: str | Path) -> Any:
    return json.loads(vitquant(*words).stdout)


def imported_nothing_heavy(done: subprocess.CompletedProcess[str]) -> bool:
    return "imported: []" in done.stderr


@pytest.fixture
def with_pictures(data_dir: Path, tiny_imagenet: Path) -> Path:
    """An empty store beside the real Tiny-ImageNet, prepared once for all tests."""
    (data_dir / "tiny-imagenet").symlink_to(tiny_imagenet / "tiny-imagenet")
    return data_dir


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "a picture.png"
    Image.radial_gradient("L").resize((64, 64)).save(file)
    return file


def on_two_cores() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited two minutes for {what}"
        time.sleep(0.02)  # between two looks


def stored_predictions(data: Path) -> list[tuple[Any, ...]]:
    try:
        with sqlite3.connect(f"file:{data / 'vitquant.sqlite'}?mode=ro", uri=True) as db:
            query = (
                "SELECT series.variant, predictions.* FROM predictions "
                "JOIN series ON series.id = series_id ORDER BY series_id, position"
            )
            return db.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []  # no store yet


# ---- lists ------------------------------------------------------------------------------------


def test_models_are_listed_without_torch(data_dir: Path) -> None:
    done = vitquant("models", "--json")
    rows = {row["model"]: row for row in json.loads(done.stdout)}
    assert len(rows) == 10
    assert rows["sample"]["parameters"] == 4_642_600
    assert (rows["sample"]["weights"], rows["sample"]["download_bytes"]) == ("bundled", 0)
    assert rows["dinov2_vitb14_reg_lc"]["download_bytes"] == 361_698_208
    assert rows["dinov2_vitb14_reg_lc"]["head_url"].endswith(
        "/dinov2_vitb14/dinov2_vitb14_reg4_linear4_head.pth"
    )
    assert imported_nothing_heavy(done)
    assert "361.7 MB" in vitquant("models").stdout  # for people


def test_variants_are_listed_without_torch(data_dir: Path) -> None:
    done = vitquant("variants", "--json")
    rows = {row["variant"]: row for row in json.loads(done.stdout)}
    assert {"fp32", "qint8", "float16"} <= set(rows)
    assert rows["qint8"]["batch_dependent"]
    assert not rows["float16"]["batch_dependent"]
    assert imported_nothing_heavy(done)


def test_an_engine_without_float16_says_so(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITQUANT_ENGINE", "qnnpack")
    rows = {row["variant"]: row for row in answer("variants", "--json")}
    assert rows["qint8"]["unavailable"] is None
    assert "qnnpack" in rows["float16"]["unavailable"]
    refused = vitquant("benchmark", "size", *SMALL, "--variants", "float16", status=2)
    assert "float16" in refused.stderr


def test_an_unknown_engine_is_a_sentence(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITQUANT_ENGINE", "warp")
    assert "warp" in vitquant("variants", status=2).stderr


# ---- predict ------------------------------------------------------------------------------------


def test_predict_answers_every_picture_with_every_variant_in_order(data_dir: Path, picture: Path) -> None:
    other = picture.with_name("b.png")
    Image.linear_gradient("L").save(other)
    answers = answer("predict", picture, other, *SMALL, "--variants", "qint8,fp32", "--top", "3", "--json")
    assert [(a["image"], a["variant"]) for a in answers] == [
        (str(file), variant) for file in (picture, other) for variant in ("qint8", "fp32")
    ]
    for a in answers:
        assert [p["rank"] for p in a["predictions"]] == [1, 2, 3]
        probabilities = [p["probability"] for p in a["predictions"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert set(a["predictions"][0]) == {"rank", "index", "wnid", "words", "probability"}


@pytest.mark.slow
def test_predict_walks_through_the_notebooks_example(with_pictures: Path) -> None:
    words = ["predict", "--dataset", "tiny-imagenet", "--index", "999", *SMALL, "--variants", "fp32"]
    [one] = answer(*words, "--json")
    assert one["true_class"]["wnid"] in one["image"]
    assert len(one["predictions"]) == 5
    assert one["true_class"]["words"] in vitquant(*words).stdout


@pytest.mark.slow
def test_predict_and_the_accuracy_run_agree(with_pictures: Path) -> None:
    answer(*ACCURACY, "--limit", "8", "--variants", "fp32,qint8")
    with sqlite3.connect(with_pictures / "vitquant.sqlite") as db:
        stored = db.execute(
            "SELECT picture, variant, index1, probability1 FROM predictions "
            "JOIN series ON series.id = series_id JOIN examples USING (dataset_id, position) "
            "ORDER BY picture, variant LIMIT 2"
        ).fetchall()
    words = ["predict", "--dataset", "tiny-imagenet", "--index", str(stored[0][0]), *SMALL]
    for a in answer(*words, "--variants", "fp32,qint8", "--json"):
        [(index, probability)] = [row[2:] for row in stored if row[1] == a["variant"]]
        assert a["predictions"][0]["index"] == index
        # A last bit that differs (the pass runs on one thread) may tip an int8 rounding.
        tolerance = 1e-3 if a["variant"] == "fp32" else 0.05
        assert a["predictions"][0]["probability"] == pytest.approx(probability, rel=tolerance)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--image-size", "71"], ["70", "84"]),
        (["--variants", "qint9"], ["qint9", "qint8"]),
        (["--model", "dinov2_vitb15_reg_lc"], ["dinov2_vitb15_reg_lc", "dinov2_vitb14_reg_lc"]),
        (["--weights", "/no/such/folder"], ["/no/such/folder"]),
        (["--top", "0"], ["0"]),
    ],
)
def test_predict_refuses_nonsense_with_a_sentence(
    data_dir: Path, picture: Path, words: list[str], said: list[str]
) -> None:
    done = vitquant("predict", picture, *SMALL, *words, status=2)
    assert all(part in done.stderr for part in said), done.stderr


def test_predict_names_the_picture_that_it_cannot_read(data_dir: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"<html>not found</html>")
    assert "broken.jpg" in vitquant("predict", broken, *SMALL, status=2).stderr
    assert "missing.jpg" in vitquant("predict", tmp_path / "missing.jpg", *SMALL, status=2).stderr
    assert "--index" in vitquant("predict", *SMALL, status=2).stderr


# ---- accuracy ------------------------------------------------------------------------------------


def test_accuracy_is_measured_once_and_then_answered_from_the_store_without_torch(
    with_pictures: Path,
) -> None:
    words = [*ACCURACY, "--variants", "fp32,qint8,float16", "--limit", "24"]
    first = answer(*words)
    assert [row["variant"] for row in first] == ["fp32", "qint8", "float16"]
    assert {row["n"] for row in first} == {24}
    for row in first:
        assert 0 <= row["top1_low"] <= row["top1"] <= row["top1_high"] <= 1
        assert row["top1"] <= row["top5"]
    stored = stored_predictions(with_pictures)

    again = vitquant(*words)
    assert json.loads(again.stdout) == first
    assert imported_nothing_heavy(again)
    assert stored_predictions(with_pictures) == stored
    assert len(answer("runs", "--json")) == 1

    # A shorter run is a prefix of what is there, in another order of variants too.
    shorter = vitquant(*ACCURACY, "--variants", "float16,fp32", "--limit", "8")
    assert imported_nothing_heavy(shorter)
    assert [(row["variant"], row["n"]) for row in json.loads(shorter.stdout)] == [("float16", 8), ("fp32", 8)]

    # For people: the same, and what it was measured on.
    table = vitquant(*[word for word in words if word != "--json"]).stdout
    assert "95% interval" in table
    assert "Measured 20" in table

    [run] = answer("runs", "--json")
    details = answer("runs", "show", str(run["id"]), "--json")
    assert details["result"] == first
    assert details["environment"]["torch"]
    assert "top-1" in vitquant("runs", "show", str(run["id"])).stdout
    vitquant("runs", "delete", str(run["id"]))
    assert answer("runs", "--json") == []
    assert stored_predictions(with_pictures) == []
    assert "no run" in vitquant("runs", "show", str(run["id"]), status=2).stderr


@pytest.mark.slow
def test_a_run_killed_in_the_middle_goes_on_and_ends_as_an_undisturbed_one(
    with_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*ACCURACY, "--variants", "fp32,qint8", "--limit", "60"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vitquant", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        preexec_fn=on_two_cores,  # with many, all batches would be in flight at once
    )
    wait_for(lambda: len(stored_predictions(with_pictures)) >= 16, "a first batch")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = stored_predictions(with_pictures)
    assert len(before) < 120
    [run] = answer("runs", "--json")
    assert run["state"] == "interrupted"

    rows = answer(*words)
    after = stored_predictions(with_pictures)
    assert len(after) == 120
    assert set(before) <= set(after)
    [run] = answer("runs", "--json")  # the same run, continued
    assert (run["state"], run["done"], run["total"]) == ("done", 60, 60)
    assert f"{len(before) // 2} of them stored before" in run["message"]

    monkeypatch.setenv("VITQUANT_DATA", str(tmp_path / "undisturbed"))
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "undisturbed" / "tiny-imagenet").symlink_to(with_pictures / "tiny-imagenet")
    assert answer(*words) == rows
    assert stored_predictions(tmp_path / "undisturbed") == after


def as_if_typed() -> None:
    """As a shell starts what somebody types: one that starts tests in the background has them ignore Ctrl-C."""
    on_two_cores()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured(with_pictures: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vitquant", *ACCURACY, "--variants", "fp32", "--limit", "600"],
        cwd=ROOT,
        preexec_fn=as_if_typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(stored_predictions(with_pictures)) >= 8, "a first batch")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert "goes on from there" in err
    assert "Traceback" not in err
    assert stored_predictions(with_pictures)
    assert [run["state"] for run in answer("runs", "--json")] == ["cancelled"]


def test_accuracy_without_the_dataset_says_how_to_bring_it(data_dir: Path) -> None:
    done = vitquant(*ACCURACY, status=2)
    assert "python -m vitquant fetch tiny-imagenet" in done.stderr
    assert "tiny-imagenet" in vitquant("benchmark", "accuracy", "--dataset", "imagenette", status=2).stderr


def test_a_damaged_store_is_a_sentence(data_dir: Path) -> None:
    vitquant("runs")
    file = data_dir / "vitquant.sqlite"
    file.write_bytes(file.read_bytes()[:4096] + b"damaged" * 5000)
    assert "vitquant.sqlite" in vitquant("runs", status=2).stderr


# ---- latency, size, profile --------------------------------------------------------------------------


@pytest.mark.slow
def test_size_is_a_bare_list_of_rows_and_stored(data_dir: Path) -> None:
    words = ["benchmark", "size", *SMALL, "--variants", "fp32,qint8,float16", "--json"]
    rows = {row["variant"]: row for row in answer(*words)}
    assert rows["fp32"]["parameters_bytes"] == 4 * 23_979_112
    assert rows["fp32"]["packed_bytes"] == 0
    assert rows["qint8"]["parameters_bytes"] == rows["float16"]["parameters_bytes"]
    assert rows["qint8"]["disk_bytes"] < rows["fp32"]["disk_bytes"] / 3
    for row in rows.values():  # a process that loads a variant holds its tensors, and imported torch before
        assert row["baseline_bytes"] > 50e6
        assert row["peak_bytes"] >= row["steady_bytes"] > row["baseline_bytes"] + 0.9 * row["total_bytes"]
    steady = {name: row["steady_bytes"] - row["baseline_bytes"] for name, row in rows.items()}
    assert steady["qint8"] < steady["fp32"]
    again = vitquant(*words)
    assert {row["variant"]: row for row in json.loads(again.stdout)} == rows
    assert imported_nothing_heavy(again)
    assert "ledger" not in rows["fp32"]
    tree = json.loads(vitquant(*words, "--tree").stdout)
    assert [len(row["ledger"]) > 100 for row in tree] == [True, True, True]
    layers = json.loads(vitquant(*words, "--layers").stdout)
    assert [len(row["layers"]) for row in layers] == [49, 49, 49]
    assert "layers" not in rows["fp32"] | tree[0]
    shown = vitquant(*words[:-1], "--tree").stdout
    [line] = [line for line in shown.splitlines() if line.strip().startswith("all ")][1:2]
    assert f"{rows['qint8']['total_bytes']:,}" in line
    assert "int8" in line


@pytest.mark.slow
def test_latency_measures_each_shape_and_variant_and_is_stored(data_dir: Path) -> None:
    words = ["benchmark", "latency", *SMALL, "--variants", "fp32,qint8", "--shapes", "1x14,2x28"]
    words += ["--threads", "1", "--seconds", "0.2", "--json"]
    rows = answer(*words)
    assert [(row["shape"], row["variant"]) for row in rows] == [
        (shape, variant) for shape in ("1x14", "2x28") for variant in ("fp32", "qint8")
    ]
    assert all(row["threads"] == 1 and 0 < row["q1_s"] <= row["median_s"] <= row["q3_s"] for row in rows)
    again = vitquant(*words)
    assert json.loads(again.stdout) == rows
    assert imported_nothing_heavy(again)
    answer(*words, "--again")
    assert len(answer("runs", "--json")) == 2


def test_a_shape_that_does_not_fit_is_a_sentence(data_dir: Path) -> None:
    done = vitquant("benchmark", "latency", *SMALL, "--shapes", "1x71", status=2)
    assert "70" in done.stderr
    assert "84" in done.stderr


@pytest.mark.slow
def test_profile_lists_operators_by_self_time(data_dir: Path) -> None:
    words = ["benchmark", "profile", *SMALL, "--variants", "fp32,qint8", "--shape", "1x28"]
    rows = answer(*words, "--json")
    for variant, operator in {"fp32": "aten::addmm", "qint8": "quantized::linear_dynamic"}.items():
        operators = [row for row in rows if (row["variant"], row["level"]) == (variant, "operator")]
        times = [row["self_cpu_s"] for row in operators]
        assert times == sorted(times, reverse=True)
        assert operator in {row["name"] for row in operators}
        layers = [row["self_cpu_s"] for row in rows if (row["variant"], row["level"]) == (variant, "layer")]
        assert sum(layers) == pytest.approx(sum(times))
    printed = vitquant(*words).stdout
    assert "quantized::linear_dynamic" in printed
    assert "Computed (Amdahl's law)" in printed
    assert "by kind of layer" in printed

    [run] = answer("runs", "--json")
    files = vitquant("runs", "trace", str(run["id"]), "--out", data_dir).stdout.split()
    assert len(files) == 2
    for file in files:
        trace = json.loads(gzip.decompress(Path(file).read_bytes()))
        assert any(event.get("name") == "aten::native_layer_norm" for event in trace["traceEvents"])


@pytest.mark.slow
def test_latency_over_threads_with_what_starting_takes(data_dir: Path) -> None:
    words = ["benchmark", "latency", "--model", "sample", "--variants", "fp32,qint8", "--shapes", "1x14,2x14"]
    words += ["--seconds", "0.1", "--threads"]
    rows = answer(*words, "1", "--json")
    assert [(row["shape"], row["variant"], row["threads"]) for row in rows] == [
        ("1x14", "fp32", 1),
        ("1x14", "qint8", 1),
        ("2x14", "fp32", 1),
        ("2x14", "qint8", 1),
    ]
    for row in rows[:2]:
        assert row["load_s"] > 0
        assert row["first_s"] > 0
        assert row["peak_bytes"] >= row["baseline_bytes"] > 10**8
    assert all(row["load_s"] is None for row in rows[2:])
    assert all(row["pictures_per_s"] == pytest.approx(row["batch"] / row["median_s"]) for row in rows)
    assert "first prediction" in vitquant(*words, "1").stdout

    with sqlite3.connect(data_dir / "vitquant.sqlite") as db:
        raw = dict(db.execute("SELECT name, content FROM attachments"))
    for row in rows:
        times = latency.unpack_times(raw[f"times/{row['shape']}/1/{row['variant']}"])
        assert len(times) == row["runs"]
        assert statistics.median(times) == row["median_s"]
    refused = vitquant(*words, "0", status=2)
    assert "'0' threads cannot be" in refused.stderr


@pytest.mark.slow
def test_until_sure_says_what_it_concluded_and_on_how_many_pictures(data_dir: Path) -> None:
    words = ["benchmark", "accuracy", "--model", "sample_outliers", "--dataset", "sample", "--until-sure"]
    rows = answer(*words, "--variants", "fp32,qint8", "--json")
    assert [(row["variant"], row["n"], row["conclusion"]) for row in rows] == [
        ("fp32", 64, None),
        ("qint8", 64, "differs"),  # a collapse shows at the first look
    ]
    printed = vitquant(*words, "--variants", "fp32,qint8")
    assert "qint8 differs: it has fewer pictures right than fp32" in printed.stdout
    assert "Settled on 64 pictures" in printed.stdout
    assert imported_nothing_heavy(printed)
    alone = vitquant(*words, "--variants", "fp32", status=2)
    assert "name another variant beside it" in alone.stderr

    longer = answer(
        "benchmark", "accuracy", "--model", "sample_outliers", "--dataset", "sample", "--limit", "80",
        "--variants", "fp32,qint8", "--json",
    )  # fmt: skip
    assert [row["n"] for row in longer] == [80, 80]
    second, first = (run["id"] for run in answer("runs", "--json"))
    found = answer("runs", "compare", str(first), str(second), "--json")
    assert {change["variant"] for change in found["changes"]} == {"fp32", "qint8"}
    assert "number of pictures" in {condition["what"] for condition in found["conditions"]}
    assert "what was different" in vitquant("runs", "compare", str(first), str(second)).stdout
    assert "nothing to continue" in vitquant("runs", "continue", str(first), status=2).stderr
    assert "There is no run 99" in vitquant("runs", "compare", "99", str(first), status=2).stderr


def test_a_report_is_one_file_in_the_format_that_its_name_says(data_dir: Path, tmp_path: Path) -> None:
    for name in ("report.html", "report.json", "report.csv"):
        done = vitquant("report", "--out", tmp_path / name)
        assert "sample_outliers" in done.stdout
        assert imported_nothing_heavy(done)
    collected = json.loads((tmp_path / "report.json").read_text())
    page = (tmp_path / "report.html").read_text()
    assert json.loads(page.split('id="figures">')[1].split("</script>")[0])["parts"] == collected["parts"]
    for part in collected["parts"]:
        assert part["shipped"]
        assert part["environment"]["torch"]
    written = re.sub("<script.*?</script>", "", page, flags=re.DOTALL)  # plotly's own has links in it
    assert "http" not in written
    assert (tmp_path / "report.csv").read_text().startswith("part,variant,at,figure,value")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "report.pdf"], "let it end with .html, .json, .csv"),
        (["--out", "nowhere/report.html"], "is not there"),
        (["--out", "report.html", "--model", "sampel"], "sample"),
        (["--out", "report.html", "--image-size", "71"], "70 or 84"),
    ],
)
def test_a_report_that_cannot_be_is_a_sentence(data_dir: Path, words: list[str], sentence: str) -> None:
    assert sentence in vitquant("report", *words, status=2).stderr


@pytest.mark.parametrize("words", [[], ["nonsense"], ["benchmark"], ["benchmark", "speed"]])
def test_bad_usage_exits_with_2(data_dir: Path, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vitquant", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "usage" in done.stderr
