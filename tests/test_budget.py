"""A budget: amounts as people write them, what keeps within it, in which order, and its presets."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import drawn
from tests.pages.helpers import LATENCY, LATENCY_ROWS, SIZE, SIZE_ROWS, store_run
from tests.test_cli import imported_nothing_heavy, vitquant
from vitquant import accuracy, budget, candidates, catalog, database, machine, paths, presets, units, variants
from vitquant.budget import FITS, MB, MIB, TOO_MUCH, UNKNOWN, Budget, judge, parse_bytes, parse_seconds, ranked
from vitquant.candidates import Candidate
from vitquant.errors import InputError

MEMORY_ROWS = [
    row | {"baseline_bytes": 450 * MB, "peak_bytes": (450 + more) * MB, "steady_bytes": 455 * MB}
    for row, more in zip(SIZE_ROWS, (150, 60), strict=True)
]


def candidate(variant: str = "fp32", *, top1: float | None = None, **known: Any) -> Candidate:
    """One of the sample's, of which only what is given is measured."""
    row = None if top1 is None else {"top1": top1, "top1_low": top1 - 0.02, "top1_high": top1 + 0.02, "n": 500}
    return Candidate(
        **({"model": "sample", "weights": "bundled", "image_size": 70, "weights_here": True} | known),
        variant=variant,
        accuracy=row,
        origins={"accuracy": candidates.Origin("a machine", "2026-01-01T00:00:00+00:00", False, ())},
    )


# Amounts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("64MB", 64_000_000),
        ("64 MiB", 67_108_864),
        ("64mb", 64_000_000),
        ("1.5GB", 1_500_000_000),
        ("1.5 GiB", 1_610_612_736),
        ("256 kB", 256_000),
        ("256KiB", 262_144),
        ("512B", 512),
        ("100000 B", 100_000),
    ],
)
def test_mb_is_a_million_bytes_and_mib_two_to_the_twentieth(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text", ["", "MB", "100000", "64 megs", "-64MB", "1,5GB", "1e9", "64M", "0MB", "٦٤MB", "9" * 23 + "MB"]
)
def test_what_is_no_amount_of_bytes_is_a_sentence_that_names_it(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_bytes(text, "an amount of disk")
    assert repr(text) in str(refused.value)
    assert "an amount of disk" in str(refused.value)


def test_an_amount_without_a_unit_is_told_to_name_one() -> None:
    with pytest.raises(InputError, match="a number with its unit"):
        parse_bytes("100000")


@pytest.mark.parametrize(
    ("text", "expected"), [("150ms", 0.15), ("150 ms", 0.15), ("0.2s", 0.2), ("33.3MS", 0.0333)]
)
def test_a_time_is_in_milliseconds_or_seconds(text: str, expected: float) -> None:
    assert parse_seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["150", "", "fast", "0ms", "-1s", "2min", "99999999s"])
def test_what_is_no_time_is_a_sentence_that_says_how_to_write_one(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_seconds(text)
    assert repr(text) in str(refused.value)


def test_amounts_are_told_in_the_unit_asked_for() -> None:
    assert units.bytes_words(100 * MIB, MB) == "104.9 MB"
    assert units.bytes_words(100 * MIB, MIB) == "100 MiB"
    assert units.bytes_words(256_000, MB) == "0.256 MB"
    assert (units.bytes_words(10_000, MB), units.bytes_words(9_999, MB)) == ("0.01 MB", "9,999 bytes")
    assert (units.seconds_words(1 / 30), units.seconds_words(1.5)) == ("33.3 ms", "1.5 s")


# Judging

EVERYTHING = Budget(disk_bytes=64 * MB, memory_bytes=200 * MB, latency_s=0.15)
DISK_ONLY = Budget(disk_bytes=64 * MB)


def test_what_is_at_its_limit_fits() -> None:
    exactly = candidate(disk_bytes=64 * MB, memory_bytes=200 * MB, latency_s=0.15)
    assert judge(exactly, EVERYTHING).answer == FITS


def test_what_breaks_a_limit_says_which_and_by_how_much() -> None:
    large = candidate(disk_bytes=96 * MB, memory_bytes=100 * MB, latency_s=0.45)
    verdict = judge(large, EVERYTHING)
    assert verdict.answer == TOO_MUCH
    assert [(excess.what, excess.over) for excess in verdict.broken] == [
        ("disk", 32 * MB),
        ("latency", pytest.approx(0.3)),
    ]
    assert budget.verdict_words(verdict, MB) == (
        "does not fit: disk 32 MB over the 64 MB; time 3.0 times the 150 ms"
    )


def test_what_was_not_measured_is_unknown_and_not_fitting() -> None:
    verdict = judge(candidate(disk_bytes=10 * MB), EVERYTHING)
    assert (verdict.answer, verdict.missing) == (UNKNOWN, ("memory", "latency"))
    assert "memory and time" in budget.verdict_words(verdict, MB)


def test_one_broken_limit_decides_whatever_else_was_not_measured() -> None:
    verdict = judge(candidate(disk_bytes=65 * MB), EVERYTHING)
    assert (verdict.answer, verdict.missing) == (TOO_MUCH, ("memory", "latency"))


def test_without_a_limit_nothing_has_to_be_measured() -> None:
    assert judge(candidate(), Budget()).answer == FITS
    assert judge(candidate(disk_bytes=1), Budget(disk_bytes=2)).answer == FITS


def test_a_computed_size_rules_out_but_never_fits() -> None:
    of = candidate(computed_disk_bytes=96 * MB)
    [excess] = judge(of, Budget(disk_bytes=64 * MB)).broken
    assert excess.computed
    assert "not measured" in budget.excess_words(excess, MB)
    assert judge(of, Budget(disk_bytes=100 * MB)).answer == UNKNOWN


def test_what_fits_comes_first_then_the_most_accurate_then_the_smaller() -> None:
    of = [
        candidate("a", top1=0.99, disk_bytes=90 * MB),  # too large
        candidate("b", top1=0.95),  # unknown
        candidate("c", disk_bytes=1 * MB),  # fits, its accuracy was not measured
        candidate("d", top1=0.5, disk_bytes=2 * MB),
        candidate("e", top1=0.8, disk_bytes=20 * MB),
        candidate("f", top1=0.8, disk_bytes=10 * MB),
    ]
    assert [one.variant for one, _ in ranked(of, Budget(disk_bytes=64 * MB))] == list("fedcba")


def test_what_fits_without_an_accuracy_is_said_to_lack_it() -> None:
    of = [candidate("a", disk_bytes=1 * MB), candidate("b", disk_bytes=2 * MB)]
    told = budget.answer_sentences(ranked(of, DISK_ONLY), DISK_ONLY, MB)
    assert told == ["**2 of 2 fit.**", "How accurate they are was not measured."]


def test_the_answer_says_how_many_fit_the_best_and_a_much_smaller_one_about_as_good() -> None:
    of = [
        candidate("fp32", top1=0.925, disk_bytes=20 * MB),
        candidate("qint8", top1=0.92, disk_bytes=5 * MB),
        candidate("tiny", top1=0.2, disk_bytes=1 * MB),  # smaller still, but clearly worse
        candidate("float16"),
        candidate("other", disk_bytes=80 * MB),
    ]
    told = budget.answer_sentences(ranked(of, DISK_ONLY), DISK_ONLY, MB)
    assert told == [
        "**3 of 5 fit.**",
        "The most accurate: **sample · fp32**, which recognises 92.5% of 500 pictures "
        "(95% interval 90.5% to 94.5%).",
        "**sample · qint8** takes 4.0 times less disk, and the intervals of the two overlap.",
        "1 more might: something that decides it was not measured.",
    ]


def test_where_nothing_fits_the_closest_is_told() -> None:
    of = [candidate("fp32", disk_bytes=20 * MB), candidate("qint8", disk_bytes=5 * MB)]
    asked = Budget(disk_bytes=MB)
    [told] = budget.answer_sentences(ranked(of, asked), asked, MB)
    assert told == (
        "**Nothing fits.** The closest, **sample · qint8**, takes 5 MB of disk, which is 5.0 times the limit "
        "of 1 MB."
    )


BESIDE_TORCH = [
    candidate("fp32", top1=0.9, memory_bytes=150 * MB, baseline_bytes=460 * MB),
    candidate("qint8", top1=0.8, memory_bytes=60 * MB, baseline_bytes=450 * MB),
]


def test_a_limit_that_torch_itself_breaks_is_told_before_what_would_fit_without_it() -> None:
    asked = Budget(memory_bytes=100 * MB)
    told = budget.answer_sentences(ranked(BESIDE_TORCH, asked), asked, MB)
    assert told[:2] == [
        "**Nothing fits with torch**: its process takes 450 MB of memory before it loads any model, more than "
        "the limit.",
        "Beside a smaller runtime 1 of 2 would.",
    ]
    assert told[2].startswith("The most accurate: **sample · qint8**")
    asked = Budget(memory_bytes=10 * MB)
    runtime, closest = budget.answer_sentences(ranked(BESIDE_TORCH, asked), asked, MB)
    assert runtime == told[0]
    assert closest.startswith("**Nothing fits.** The closest, **sample · qint8**")


@pytest.mark.parametrize("asked", [Budget(memory_bytes=450 * MB), Budget(disk_bytes=MB), Budget()])
def test_a_limit_that_torch_keeps_within_says_nothing_of_it(asked: Budget) -> None:
    judged = ranked(BESIDE_TORCH, asked)
    assert budget.runtime_beyond(judged, asked) is None
    assert not any("torch" in told or "runtime" in told for told in budget.answer_sentences(judged, asked, MB))


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_has_limits_words_and_a_source(name: str) -> None:
    preset = presets.PRESETS[name]
    assert preset.budget.limits
    assert preset.says
    assert preset.sources
    assert all(source.title and source.url.startswith("https://") for source in preset.sources)


def test_the_presets_keep_mb_and_mib_apart() -> None:
    bytes_of = {name: preset.budget.disk_bytes for name, preset in presets.PRESETS.items()}
    assert bytes_of["github-file"] == bytes_of["pypi-file"] == 100 * MIB
    assert bytes_of["nano-33-ble"] == MB
    assert presets.PRESETS["pi-zero-2w"].budget.memory_bytes == 512 * MIB


# What is stored


def found(dataset: str = drawn.DATASET) -> dict[tuple[str, str, str], Candidate]:
    with database.opened() as db:
        of = candidates.find(db, dataset, 70, None)
    return {(one.model, one.weights, one.variant): one for one in of}


def test_every_model_is_there_in_every_variant_where_nothing_is_measured(
    data_dir: Path, no_sample: Path
) -> None:
    of = found()
    assert {model for model, _, _ in of} == set(catalog.MODELS)
    assert {variant for _, _, variant in of} == set(variants.usable(machine.engine()))
    assert not any(one.is_measured for one in of.values())
    large = of["dinov2_vitg14_lc", "hub", "fp32"]
    assert (large.disk_bytes, large.computed_disk_bytes) == (None, 4 * 1_144_161_768)
    qint8, float16 = (of["dinov2_vitg14_lc", "hub", variant] for variant in ("qint8", "float16"))
    assert (qint8.computed_disk_bytes, float16.computed_disk_bytes) == (1_144_161_768, 2 * 1_144_161_768)


@pytest.fixture
def hub_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The drawn model's own weights are here, as files that nothing reads as weights."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(paths, "hub_checkpoints_dir", lambda: folder)
    return put_weights(folder)


def put_weights(folder: Path) -> Path:
    folder.mkdir()
    spec = catalog.model(drawn.MODEL)
    for name in (spec.backbone_file, spec.head_file):
        (folder / name).write_bytes(b"weights")
    return folder


OWN_SIZE, OWN_LATENCY = replace(SIZE, weights="hub"), replace(LATENCY, weights="hub")


def test_each_figure_is_of_its_measurement(plan: accuracy.Plan, no_sample: Path, hub_weights: Path) -> None:
    store_run(OWN_SIZE, MEMORY_ROWS)
    store_run(OWN_LATENCY, LATENCY_ROWS)
    drawn.store_answers({"fp32": {0}, "qint8": {1, 2}}, limit=drawn.MEASURED, weights="hub")
    of = found()
    qint8 = of[drawn.MODEL, "hub", "qint8"]
    assert (qint8.disk_bytes, qint8.memory_bytes, qint8.baseline_bytes) == (26_554_327, 60 * MB, 450 * MB)
    assert (qint8.latency_s, qint8.threads) == (0.015, 1)
    # Two wrong: not the four of the plan's random weights.
    assert qint8.accuracy and (qint8.accuracy["n"], qint8.top1) == (drawn.MEASURED, pytest.approx(28 / 30))
    assert {kind: (origin.shipped, origin.random_weights) for kind, origin in qint8.origins.items()} == {
        "size": (False, False),
        "latency": (False, False),
        "accuracy": (False, False),
    }
    # Of today's pictures nothing was said, so the answers may be to others.
    assert qint8.origins["accuracy"].changes
    assert not qint8.origins["size"].changes
    float16 = of[drawn.MODEL, "hub", "float16"]
    assert (float16.disk_bytes, float16.latency_s, float16.accuracy) == (None, None, None)


def test_random_weights_stand_in_for_size_and_time_but_never_for_accuracy(
    plan: accuracy.Plan, no_sample: Path
) -> None:
    store_run(SIZE, MEMORY_ROWS)
    store_run(LATENCY, LATENCY_ROWS)
    of = found()  # the plan has answers of random weights too
    assert {weights for model, weights, _ in of if model == drawn.MODEL} == {"hub"}
    qint8 = of[drawn.MODEL, "hub", "qint8"]
    assert (qint8.disk_bytes, qint8.memory_bytes, qint8.baseline_bytes) == (26_554_327, 60 * MB, 450 * MB)
    assert (qint8.latency_s, qint8.threads) == (0.015, 1)
    assert qint8.accuracy is None
    assert {kind: origin.random_weights for kind, origin in qint8.origins.items()} == {
        "size": True,
        "latency": True,
    }
    assert not of[drawn.MODEL, "hub", "float16"].is_measured
    assert not of["dinov2_vits14_lc", "hub", "qint8"].is_measured  # another model


def test_a_models_own_measurement_wins_over_that_with_random_weights(
    data_dir: Path, no_sample: Path, hub_weights: Path
) -> None:
    store_run(OWN_SIZE, [row | {"disk_bytes": 7 * MB} for row in MEMORY_ROWS if row["variant"] == "fp32"])
    store_run(SIZE, MEMORY_ROWS)  # later
    store_run(LATENCY, LATENCY_ROWS)
    of = found()
    fp32, qint8 = (of[drawn.MODEL, "hub", variant] for variant in ("fp32", "qint8"))
    assert (fp32.disk_bytes, qint8.disk_bytes) == (7 * MB, 26_554_327)
    assert (fp32.latency_s, qint8.latency_s) == (0.03, 0.015)
    of_random = [{k: origin.random_weights for k, origin in one.origins.items()} for one in (fp32, qint8)]
    assert of_random == [{"size": False, "latency": True}, {"size": True, "latency": True}]


def test_an_own_time_that_was_too_noisy_is_not_filled_from_random_weights(
    data_dir: Path, no_sample: Path, hub_weights: Path
) -> None:
    store_run(OWN_LATENCY, [row | {"is_noisy": True} for row in LATENCY_ROWS])
    store_run(LATENCY, LATENCY_ROWS)
    fp32 = found()[drawn.MODEL, "hub", "fp32"]
    assert (fp32.latency_s, fp32.is_noisy, fp32.origins["latency"].random_weights) == (None, True, False)


def test_a_folder_of_weights_is_a_candidate_where_something_of_it_is_stored(
    data_dir: Path, no_sample: Path, tmp_path: Path
) -> None:
    folder = str(put_weights(tmp_path / "finetuned"))
    assert not any(weights == folder for _, weights, _ in found())
    store_run(replace(SIZE, weights=folder), SIZE_ROWS)
    of = found()
    assert {variant for _, weights, variant in of if weights == folder} == {"fp32", "qint8"}
    fp32 = of[drawn.MODEL, folder, "fp32"]
    assert (fp32.disk_bytes, fp32.label) == (95_980_187, f"{drawn.MODEL} · fp32 (weights finetuned)")
    assert not of[drawn.MODEL, "hub", "fp32"].is_measured


@pytest.mark.parametrize(
    ("exported", "disk_bytes"),
    [
        ({"exported_bytes": 50 * MB}, 50 * MB),
        ({"exported_bytes": 99 * MB}, 95_980_187),
        ({"exported_bytes": None}, 95_980_187),
        ({}, 95_980_187),  # before exports were counted
    ],
)
def test_disk_is_the_smaller_of_torchs_file_and_the_export(
    data_dir: Path, no_sample: Path, exported: dict[str, int | None], disk_bytes: int
) -> None:
    store_run(SIZE, [row | exported for row in SIZE_ROWS if row["variant"] == "fp32"])
    fp32 = found()[drawn.MODEL, "hub", "fp32"]
    assert fp32.disk_bytes == disk_bytes
    assert judge(fp32, DISK_ONLY).answer == (FITS if disk_bytes == 50 * MB else TOO_MUCH)


def test_a_size_run_from_before_memory_was_taken_leaves_memory_unmeasured(
    data_dir: Path, no_sample: Path
) -> None:
    store_run(SIZE, SIZE_ROWS)
    fp32 = found()[drawn.MODEL, "hub", "fp32"]
    assert (fp32.disk_bytes, fp32.memory_bytes, fp32.baseline_bytes) == (95_980_187, None, None)


def test_a_time_that_was_too_noisy_is_not_measured(data_dir: Path, no_sample: Path) -> None:
    store_run(LATENCY, [row | {"is_noisy": row["variant"] == "qint8"} for row in LATENCY_ROWS])
    of = found()
    qint8 = of[drawn.MODEL, "hub", "qint8"]
    assert (qint8.latency_s, qint8.is_noisy) == (None, True)
    assert judge(qint8, Budget(latency_s=1.0)).missing == ("latency",)
    assert of[drawn.MODEL, "hub", "fp32"].latency_s == 0.03


def test_another_image_sizes_time_does_not_count(data_dir: Path, no_sample: Path) -> None:
    store_run(LATENCY, [row | {"shape": "1x224"} for row in LATENCY_ROWS])
    assert not any(one.latency_s for one in found().values())


def test_figures_from_another_torch_are_stale(
    data_dir: Path, no_sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_run(SIZE, SIZE_ROWS)
    real = machine.version_of
    monkeypatch.setattr(machine, "version_of", lambda name: "9.9.9" if name == "torch" else real(name))
    [change] = found()[drawn.MODEL, "hub", "fp32"].origins["size"].changes
    assert "9.9.9" in change


# The command line


def test_the_terminal_answers_from_the_shipped_results_without_torch(data_dir: Path) -> None:
    done = vitquant("budget", "--disk", "8MB", "--dataset", "sample", "--json")
    assert imported_nothing_heavy(done)
    told = json.loads(done.stdout)
    assert told["budget"] == {"disk_bytes": 8_000_000, "memory_bytes": None, "latency_s": None}
    fitting = [c for c in told["candidates"] if c["verdict"] == "fits"]
    assert told["candidates"][: len(fitting)] == fitting
    assert {("sample", "qint8"), ("sample", "qint8_best"), ("sample_outliers", "qint8_best")} <= {
        (c["model"], c["variant"]) for c in fitting
    }
    assert all(c["disk_bytes"] <= 8_000_000 for c in fitting)
    top1 = [c["accuracy"]["top1"] for c in fitting]
    assert top1 == sorted(top1, reverse=True)
    assert fitting[-1]["variant"] in ("qint8", "qint8_channel")  # of the model with planted outliers
    assert fitting[0]["accuracy"]["n"] == 1475
    assert fitting[0]["origins"]["size"]["shipped"]
    fp32 = next(c for c in told["candidates"] if (c["model"], c["variant"]) == ("sample", "fp32"))
    assert fp32["verdict"] == "does not fit"
    [broken] = fp32["broken"]
    assert broken["over"] == fp32["disk_bytes"] - 8_000_000


def test_the_terminals_table_says_what_fits_and_why_not(data_dir: Path) -> None:
    table = vitquant("budget", "--disk", "10MB", "--latency", "150ms", "--dataset", "sample").stdout
    assert "not known: time not measured" in table
    assert "does not fit: disk 8.61 MB over the 10 MB" in table
    of = len(catalog.MODELS) * len(variants.usable(machine.engine()))
    assert f"None of the {of} is known to fit." in table
    assert budget.WHAT_DISK_IS in table
    assert budget.WHAT_MEMORY_IS in table
    in_mib = vitquant("budget", "--disk", "10MiB", "--dataset", "sample").stdout
    assert "MiB" in in_mib
    assert " MB" not in in_mib


def test_the_terminal_labels_what_was_measured_with_random_weights(data_dir: Path) -> None:
    store_run(SIZE, SIZE_ROWS)
    asked = ["budget", "--disk", "64MB", "--dataset", drawn.DATASET]
    told = json.loads(vitquant(*asked, "--json").stdout)
    qint8 = next(c for c in told["candidates"] if (c["model"], c["variant"]) == (drawn.MODEL, "qint8"))
    assert (qint8["weights"], qint8["disk_bytes"], qint8["verdict"]) == ("hub", 26_554_327, "fits")
    assert qint8["origins"]["size"]["random_weights"]
    lines = vitquant(*asked).stdout.splitlines()
    marked = [line.split()[:3] for line in lines if "  random weights  " in line]
    assert sorted(marked) == [[drawn.MODEL, "hub", "fp32"], [drawn.MODEL, "hub", "qint8"]]


def test_the_terminal_says_that_torch_itself_is_beyond_the_limit(data_dir: Path) -> None:
    store_run(SIZE, [row | {"baseline_bytes": 300 * MB} for row in MEMORY_ROWS])
    said = (
        "Nothing fits with torch: its process takes 300 MB of memory before it loads any model, more than the "
        "limit. Beside a smaller runtime "
    )
    assert f"\n{said}" in vitquant("budget", "--memory", "250MB", "--dataset", drawn.DATASET).stdout
    within = vitquant("budget", "--memory", "310MB", "--dataset", drawn.DATASET).stdout
    assert "Nothing fits with torch" not in within
    assert "smaller runtime" not in within


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--disk", "64 megs"], ["64 megs", "64MiB"]),
        (["--memory", "lots"], ["lots", "memory"]),
        (["--disk", "100000"], ["100000", "a number with its unit"]),
        (["--latency", "150"], ["150", "150ms"]),
        (["--dataset", "imagenette"], ["imagenette", "tiny-imagenet"]),
        (["--image-size", "71"], ["71", "70"]),
    ],
)
def test_the_terminal_refuses_nonsense_with_a_sentence(
    data_dir: Path, words: list[str], said: list[str]
) -> None:
    refused = vitquant("budget", *words, status=2).stderr
    assert all(part in refused for part in said)


def test_a_model_that_does_not_take_the_size_stands_at_its_own(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    small = replace(catalog.model("sample"), name="mine", patch_size=16, pretraining_size=64, family="timm")
    both = {"sample": catalog.MODELS["sample"], "mine": small}
    monkeypatch.setattr(catalog, "models", lambda **_: both)
    with database.opened() as db:
        found = {one.model: one for one in candidates.find(db, "sample", 70, None)}
        assert (found["sample"].image_size, found["sample"].is_at_another_size) == (70, False)
        assert (found["mine"].image_size, found["mine"].is_at_another_size) == (64, True)
        assert found["mine"].label.endswith("(64 px)")
    candidates.check_image_size(64)
    with pytest.raises(InputError, match="Image size 71 does not fit"):
        candidates.check_image_size(71)
