"""The sentences about what mends int8: from rows alone."""

from typing import Any

import pytest

from vitquant import catalog, cure_words, layers

MODEL = "sample_outliers"
NAMES = [layer.name for layer in layers.of(catalog.model(MODEL))]


def accuracy(variant: str, right: int, broken: int | None, fixed: int | None, n: int = 100) -> dict[str, Any]:
    share = right / n
    kl = None if broken is None else broken / n
    return {
        "variant": variant,
        "n": n,
        "top1": share,
        "top1_low": share - 0.05,
        "top1_high": share + 0.05,
        "broken": broken,
        "fixed": fixed,
        "mean_kl_nats": kl,
    }


FP32 = accuracy("fp32", 90, None, None)
BROKEN = accuracy("qint8", 10, 80, 0)
MENDED = accuracy("qint8_best", 90, 1, 1)
SIZES = {name: {"disk_bytes": size} for name, size in (("fp32", 20 * 10**6), ("qint8", 5 * 10**6))}


def timing(variant: str, median_s: float, **more: object) -> dict[str, Any]:
    spread = {"q1_s": 0.95 * median_s, "q3_s": 1.05 * median_s}
    return {"variant": variant, "median_s": median_s, **spread, **more}


def trail_row(**values: object) -> dict[str, Any]:
    return {"step": "a", "n": 172, "points_lost": 0.1, "points_lost_high": 0.4, "broken": 1,
            "fixed": 0, "mean_kl_nats": 0.01,
            "weight_bytes": 5 * 10**6, "in_float": 2, "kept": True, "why": ""} | values  # fmt: skip


def by_name(*rows: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["variant"]: row for row in rows}


def test_the_answer_is_what_int8_loses_and_what_the_cure_does() -> None:
    sizes = {**SIZES, "qint8_best": {"disk_bytes": 5_500_000}}
    lost, mended = cure_words.answer(by_name(FP32, BROKEN, MENDED), sizes, "qint8_best", "sample")
    assert lost.startswith("**qint8** loses 80.0 points of top-1 (95% interval ")
    assert lost.endswith("on the first 100 pictures of sample: 10.0% right, where fp32 has 90.0%.")
    assert mended.startswith("**qint8_best** loses 0.0 points of top-1 (95% interval -")
    assert mended.endswith("It takes **5.5 MB** on disk: 0.28 of fp32's, 1.10 of qint8's.")


def test_a_cure_measured_on_other_pictures_says_on_how_many_and_is_not_set_beside_fp32() -> None:
    other = accuracy("qint8_best", 45, 1, 1, n=50)
    _, mended = cure_words.answer(by_name(FP32, BROKEN, other), {}, "qint8_best", "sample")
    assert mended.endswith("on the first 50 pictures of sample.")


def test_without_a_cure_there_is_only_the_loss() -> None:
    assert len(cure_words.answer(by_name(FP32, BROKEN), {}, None, "sample")) == 1


def test_what_is_better_than_fp32_gains() -> None:
    row = accuracy("qint8_best", 95, 0, 5)
    assert cure_words.loses(cure_words.difference_of(row)).startswith("gains 5.0 points of top-1")


def test_a_scale_for_each_row_is_told_by_what_it_was_measured_to_do() -> None:
    still_broken = accuracy("qint8_channel", 10, 80, 0)
    harmless = accuracy("qint8", 90, 0, 0)
    assert cure_words.why("qint8_channel", by_name(FP32, BROKEN, still_broken)) == (
        cure_words.WEIGHTS_ARE_INNOCENT
    )
    assert cure_words.why("qint8_channel", by_name(FP32, BROKEN)) == cure_words.WEIGHTS_ONLY
    for name in ("qint8_channel", "qint8_smooth"):
        assert cure_words.why(name, by_name(FP32, harmless)) == cure_words.NOTHING_TO_MEND


def test_with_random_weights_only_the_divergence_is_told() -> None:
    told = cure_words.of_random(by_name(FP32, BROKEN, MENDED), "qint8_best")
    assert told == "KL divergence to fp32's answers: **qint8** 0.8 nats, **qint8_best** 0.01 nats."


def test_the_layers_left_in_float_are_named_by_kind() -> None:
    left = ["linear_head", *(f"blocks.{block}.attn.qkv" for block in (5, 0, 1, 2, 7)), "blocks.3.mlp.fc1"]
    told = cure_words.left_in_float({"left in float": left, "as": "float16"}, MODEL)
    where = "the head; qkv of blocks 0 to 2, 5 and 7; fc1 of block 3."
    assert told == f"**7 of {len(NAMES)}** layers stay in float16: {where}"


def test_a_mix_without_any_layer_in_float_says_so_and_a_search_without_a_mix_nothing() -> None:
    assert "none has to stay" in cure_words.left_in_float({"left in float": [], "as": "float16"}, MODEL)
    assert cure_words.left_in_float({"alpha": 0.5}, MODEL) == ""


def test_the_outcome_is_the_candidate_that_was_kept_last() -> None:
    everything = trail_row(in_float=33, weight_bytes=9 * 10**6)
    rows = [everything, trail_row(), trail_row(points_lost=7.0, kept=False)]
    told = cure_words.outcome(rows, 0.5)
    lost = "**0.10 points** are lost (95% sure: at most 0.40), where 0.5 may be"
    assert f"On 172 training pictures that judge, {lost}" in told
    assert "**5 MB** (computed), where they would take 9 MB with 33 layers in float" in told
    none = cure_words.outcome([trail_row(points_lost=-0.02)], None)
    assert "**no points** are lost (95% sure: at most 0.40);" in none


def test_parameters_are_told_and_unknown_ones_too() -> None:
    told = cure_words.parameters({"alpha": 0.4, "left in float": [], "as": "float16", "novelty": "yes"})
    assert told == ["Smoothed behind the LayerNorms, alpha: **0.4**", "novelty: **yes**"]


def study_rows(by_count: dict[int, tuple[float, ...]]) -> list[dict[str, Any]]:
    return [
        {"pictures": count, "seed": seed, "mean_kl_nats": kl}
        for count, kls in by_count.items()
        for seed, kl in enumerate(kls)
    ]


@pytest.mark.parametrize(
    ("by_count", "said"),
    [
        ({0: (5.4,), 1: (0.4, 0.5), 8: (0.4, 0.45)},
         "**From 1 picture on**, KL stays between 0.4 and 0.5 nats, whatever the seed. Without smoothing it "
         "is 5.4. 8 are asked for at least: other models may need them."),
        ({1: (0.4, 3.0), 8: (0.4, 0.45), 16: (0.41, 0.42)},
         "**From 8 pictures on**, KL stays between 0.4 and 0.45 nats, whatever the seed. With fewer it reaches "
         "3."),
        ({1: (0.4, 0.4), 8: (0.4, 0.4, 9.0)},
         "Not even 8 pictures are enough for the seeds to agree: KL lies between 0.4 and 9 nats."),
    ],
)  # fmt: skip
def test_the_study_says_from_how_many_pictures_on_more_do_not_help(
    by_count: dict[int, tuple[float, ...]], said: str
) -> None:
    assert cure_words.study(study_rows(by_count)) == said


@pytest.mark.parametrize(
    ("features", "median_s", "said"),
    [
        (["AVX-512 BF16"], 0.5, "instructions for it (AVX-512 BF16), and it is faster than fp32 here"),
        (["AVX-512 BF16"], 2.0, "instructions for it (AVX-512 BF16), and yet it is slower than fp32 here"),
        (["AVX2"], 2.0, "no instructions for it, and it is slower than fp32 here"),
        (["AVX2"], 1.0, "no instructions for it; here it is as fast as fp32"),
        (["AVX2"], None, "no instructions for it, so it should be slow here; no timing says so yet"),
    ],
)
def test_bfloat16_is_fast_or_slow_here(features: list[str], median_s: float | None, said: str) -> None:
    speed = by_name(timing("fp32", 1.0), timing("bfloat16", median_s)) if median_s else {}
    assert said in cure_words.bfloat16_here(features, speed)


def test_speed_is_set_beside_fp32_and_qint8_only_where_quartiles_tell_them_apart() -> None:
    speed = by_name(timing("fp32", 0.03), timing("qint8", 0.015), timing("qint8_best", 0.015))
    told = cure_words.speed_words("qint8_best", speed)
    assert told == "**15 ms** a picture: 2.00 × fp32's speed, no clear difference from qint8"
    assert cure_words.speed_words("qint8_smooth", speed) == "speed not measured yet"
    noisy = by_name(timing("fp32", 0.03), timing("qint8_best", 0.01, is_noisy=True))
    assert "too noisy" in cure_words.speed_words("qint8_best", noisy)
